//! Copies from the GPU to the host, through staging buffers of bounded size.

use std::collections::VecDeque;

use futures::channel::oneshot;

use super::copying::Copying;
use crate::device::gpu::Gpu;
use crate::device::leases::Outstanding;
use crate::device::wait::Poller;
use crate::error::Error;

/// Bytes to read.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub buffer: wgpu::Buffer,
    pub offset: u64,
    pub size: u64,
}

/// A copy on its way: of one moment in the order of submits, read when it is there.
///
/// What fits the staging buffers is copied at once, and nothing later disturbs it. Else they are filled again and again,
/// and until the last time a token is held.
pub(crate) struct Readback {
    gpu: Gpu,
    /// What is not copied yet.
    rest: VecDeque<Source>,
    round: Round,
    /// How many steps had not been submitted when the GPU made the first copy.
    unsubmitted: oneshot::Receiver<usize>,
    hold: Option<Copying>,
}

/// Staging buffers filled by one submit.
struct Round {
    staged: Vec<Staged>,
    poller: Poller,
}

/// A staging buffer, its bytes in use, and the news that it is mapped.
struct Staged {
    buffer: wgpu::Buffer,
    used: u64,
    mapped: oneshot::Receiver<Result<(), wgpu::BufferAsyncError>>,
}

pub(crate) const WHAT: &str = "the copy of the state";

impl Readback {
    /// Copies as much as `staging` bytes hold, and submits. `recorded` are the steps whose effects the copy must show.
    pub(crate) fn new(
        gpu: &Gpu,
        sources: Vec<Source>,
        staging: u64,
        recorded: Outstanding,
        copying: &Copying,
    ) -> Result<Self, Error> {
        let mut rest: VecDeque<Source> = sources.into();
        // Callbacks come in the order of submits: leases of steps submitted before are back by then, and those of steps
        // submitted behind the copy are not.
        let (sender, unsubmitted) = oneshot::channel();
        let round = gpu.guard.run(WHAT, || {
            let buffers = staging_buffers(gpu, rest.iter().map(|source| source.size).sum::<u64>().min(staging));
            // The receiver is gone if nobody waits any more; so below.
            Round::new(gpu, buffers, &mut rest, move || {
                let _ = sender.send(recorded.count());
            })
        })?;
        let hold = (!rest.is_empty()).then(|| copying.hold());
        Ok(Self { gpu: gpu.clone(), rest, round, unsubmitted, hold })
    }

    /// Gives all bytes to `sink`, in the order of the sources; an error, and nothing given, if recorded steps are not in
    /// them.
    pub(crate) async fn for_each(mut self, mut sink: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        let gone = || Error::DeviceLost { what: WHAT.into() };
        let guard = self.gpu.guard.clone();
        match self.round.poller.wait(self.unsubmitted).await.ok_or_else(gone)? {
            0 => {}
            steps => return Err(Error::UnsubmittedSteps { steps }),
        }
        loop {
            let Round { staged, poller } = self.round;
            let mut buffers = Vec::with_capacity(staged.len());
            for Staged { buffer, used, mapped } in staged {
                poller.wait(mapped).await.ok_or_else(gone)?.map_err(|error| guard.refused(WHAT, error))?;
                let range = buffer.get_mapped_range(..used).map_err(|error| guard.refused(WHAT, error))?;
                sink(&range)?;
                drop(range);
                self.gpu.guard.unmap(WHAT, &buffer)?;
                buffers.push(buffer);
            }
            if self.rest.is_empty() {
                return Ok(());
            }
            let (gpu, rest) = (&self.gpu, &mut self.rest);
            self.round = gpu.guard.run(WHAT, || Round::new(gpu, buffers, rest, || {}))?;
            if self.rest.is_empty() {
                // What is submitted from now on comes behind the last copy.
                self.hold = None;
            }
        }
    }
}

impl Round {
    /// Fills the buffers with the first bytes of `rest`, which it takes away, submits, and asks for the buffers.
    fn new(
        gpu: &Gpu,
        buffers: Vec<wgpu::Buffer>,
        rest: &mut VecDeque<Source>,
        done: impl FnOnce() + Send + 'static,
    ) -> Self {
        let Gpu { device, queue, .. } = gpu;
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(WHAT) });
        let mut filled: Vec<(wgpu::Buffer, u64)> = Vec::with_capacity(buffers.len());
        for buffer in buffers {
            let mut used = 0;
            while used < buffer.size() {
                let Some(source) = rest.front_mut() else { break };
                let size = source.size.min(buffer.size() - used);
                if size > 0 {
                    encoder.copy_buffer_to_buffer(&source.buffer, source.offset, &buffer, used, Some(size));
                }
                used += size;
                source.offset += size;
                source.size -= size;
                if source.size == 0 {
                    rest.pop_front();
                }
            }
            if used > 0 {
                filled.push((buffer, used));
            }
        }
        while rest.front().is_some_and(|source| source.size == 0) {
            rest.pop_front();
        }
        encoder.on_submitted_work_done(done);
        let submission = queue.submit([encoder.finish()]);
        let map = |(buffer, used): (wgpu::Buffer, u64)| {
            let (sender, mapped) = oneshot::channel();
            buffer.map_async(wgpu::MapMode::Read, .., move |result| drop(sender.send(result)));
            Staged { buffer, used, mapped }
        };
        Self { staged: filled.into_iter().map(map).collect(), poller: Poller::new(device, submission) }
    }
}

/// Buffers of so many bytes together: one, if the device makes such large ones.
fn staging_buffers(gpu: &Gpu, bytes: u64) -> Vec<wgpu::Buffer> {
    let most = (gpu.device.limits().max_buffer_size / 4 * 4).max(4);
    let buffer = |size| gpu.buffer("staging", size, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
    let (full, rest) = (bytes / most, bytes % most);
    let sizes = std::iter::repeat_n(most, full as usize).chain((rest > 0).then_some(rest));
    sizes.map(buffer).collect()
}
