//! A step asks the device for the counts of skipped steps, and the answer arrives some steps later, without anyone
//! waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::device::gpu::Gpu;
use crate::error::Error;

/// One buffer for a copy of the counts. A second question must wait for the answer to the first.
#[derive(Debug, Default)]
pub(crate) struct Question {
    buffer: Option<wgpu::Buffer>,
    /// Not a wgpu object, because what an encoder receives must be `Send`, even in a browser.
    state: Arc<AtomicU8>,
    is_asked: bool,
}

/// The state of a question.
pub(crate) enum Answer {
    /// Nothing was asked, or no answer has arrived yet.
    None,
    /// The question was never submitted, or could not be answered.
    Lost,
    /// The count of each tensor, by its number.
    Counts(Vec<u32>),
}

const FREE: u8 = 0;
const OUT: u8 = 1;
const MAPPED: u8 = 2;
const WHAT: &str = "the buffer for counts of skipped steps";

/// Frees the buffer when dropped, unless the buffer is mapped by then.
struct Lease(Option<Arc<AtomicU8>>);

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(state) = &self.0 {
            state.store(FREE, Ordering::Release);
        }
    }
}

impl Question {
    pub(crate) fn is_asked(&self) -> bool {
        self.is_asked
    }

    /// Records a copy of the counts, behind the last step that they include.
    pub(crate) fn ask(
        &mut self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        counts: &wgpu::Buffer,
    ) -> Result<(), Error> {
        let buffer = match self.buffer.take().filter(|buffer| buffer.size() == counts.size()) {
            Some(buffer) => buffer,
            None => gpu.guard.run(WHAT, || {
                gpu.buffer(
                    "control.skipped_answer",
                    counts.size(),
                    wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                )
            })?,
        };
        self.state.store(OUT, Ordering::Release);
        let mut lease = Lease(Some(Arc::clone(&self.state)));
        encoder.copy_buffer_to_buffer(counts, 0, &buffer, 0, Some(counts.size()));
        encoder.map_buffer_on_submit(&buffer, wgpu::MapMode::Read, .., move |result| {
            if result.is_ok() {
                if let Some(state) = lease.0.take() {
                    state.store(MAPPED, Ordering::Release);
                }
            }
        });
        self.buffer = Some(buffer);
        self.is_asked = true;
        Ok(())
    }

    /// Returns the answer, if it has arrived. Never waits.
    pub(crate) fn answer(&mut self, gpu: &Gpu) -> Answer {
        if !self.is_asked {
            return Answer::None;
        }
        match self.state.load(Ordering::Acquire) {
            OUT => Answer::None,
            MAPPED => {
                self.is_asked = false;
                let Some(buffer) = self.buffer.take() else { return Answer::Lost };
                let counts = buffer.get_mapped_range(..).map(|bytes| {
                    let words = bytes.chunks_exact(4);
                    words.map(|word| u32::from_le_bytes(word.try_into().unwrap_or_default())).collect()
                });
                // A buffer of a lost device is of no further use.
                if gpu.guard.unmap(WHAT, &buffer).is_ok() {
                    self.buffer = Some(buffer);
                }
                self.state.store(FREE, Ordering::Release);
                counts.map_or(Answer::Lost, Answer::Counts)
            }
            _ => {
                self.is_asked = false;
                Answer::Lost
            }
        }
    }
}
