//! Copies from the GPU to the host, through staging buffers of bounded size.

use std::collections::VecDeque;

use futures_channel::oneshot;

use super::copying::Copying;
use crate::device::gpu::Gpu;
use crate::device::leases::Outstanding;
use crate::device::wait::Poller;
use crate::error::Error;

/// A range of bytes to read.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub buffer: wgpu::Buffer,
    pub offset: u64,
    pub size: u64,
}

/// A copy on its way to the host. It shows the state at one moment in the order of submits.
///
/// If the staging buffers hold all of it, it is copied immediately, and nothing submitted later disturbs it. Otherwise
/// the buffers are filled several times, and a token is held until the last time.
pub(crate) struct Readback {
    gpu: Gpu,
    /// What errors call it.
    what: &'static str,
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

/// A staging buffer, its bytes in use, and the message that it is mapped.
struct Staged {
    buffer: wgpu::Buffer,
    used: u64,
    mapped: oneshot::Receiver<Result<(), wgpu::BufferAsyncError>>,
}

/// What errors call the copy of an optimizer's state.
pub(crate) const STATE: &str = "the copy of the state";

impl Readback {
    /// Copies as much as `staging` bytes hold, and submits. `recorded` are the steps whose effects the copy must
    /// contain.
    pub(crate) fn new(
        gpu: &Gpu,
        what: &'static str,
        sources: Vec<Source>,
        staging: u64,
        recorded: Outstanding,
        copying: &Copying,
    ) -> Result<Self, Error> {
        let mut rest: VecDeque<Source> = sources.into();
        // Callbacks come in the order of submits. When this one comes, the leases of steps submitted before the copy
        // have ended, and those of steps submitted behind it have not.
        let (sender, unsubmitted) = oneshot::channel();
        let round = gpu.guard.run(what, || {
            let buffers = staging_buffers(gpu, rest.iter().map(|source| source.size).sum::<u64>().min(staging));
            // Sending fails if nobody waits any more. The same holds below.
            Round::new(gpu, buffers, &mut rest, move || {
                let _ = sender.send(recorded.count());
            })
        })?;
        let hold = (!rest.is_empty()).then(|| copying.hold());
        Ok(Self { gpu: gpu.clone(), what, rest, round, unsubmitted, hold })
    }

    /// Passes all bytes to `sink`, in the order of the sources. If the bytes lack recorded steps, it returns an error
    /// and passes nothing.
    pub(crate) async fn for_each(mut self, mut sink: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        let what = self.what;
        let gone = || Error::DeviceLost { what: what.into() };
        let guard = self.gpu.guard.clone();
        match self.round.poller.wait(self.unsubmitted).await.ok_or_else(gone)? {
            0 => {}
            steps => return Err(Error::UnsubmittedSteps { steps }),
        }
        loop {
            let Round { staged, poller } = self.round;
            let mut buffers = Vec::with_capacity(staged.len());
            for Staged { buffer, used, mapped } in staged {
                poller.wait(mapped).await.ok_or_else(gone)?.map_err(|error| guard.refused(what, error))?;
                let range = buffer.get_mapped_range(..used).map_err(|error| guard.refused(what, error))?;
                sink(&range)?;
                drop(range);
                self.gpu.guard.unmap(what, &buffer)?;
                buffers.push(buffer);
            }
            if self.rest.is_empty() {
                return Ok(());
            }
            let (gpu, rest) = (&self.gpu, &mut self.rest);
            self.round = gpu.guard.run(what, || Round::new(gpu, buffers, rest, || {}))?;
            if self.rest.is_empty() {
                // Everything submitted from now on comes behind the last copy.
                self.hold = None;
            }
        }
    }
}

impl Round {
    /// Fills the buffers with the first bytes of `rest`, and removes these from `rest`. Submits, and asks for the
    /// buffers to be mapped.
    fn new(
        gpu: &Gpu,
        buffers: Vec<wgpu::Buffer>,
        rest: &mut VecDeque<Source>,
        done: impl FnOnce() + Send + 'static,
    ) -> Self {
        let Gpu { device, queue, .. } = gpu;
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(&gpu.label) });
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

/// Creates buffers of `bytes` bytes in total: a single one, if the device allows buffers so large.
fn staging_buffers(gpu: &Gpu, bytes: u64) -> Vec<wgpu::Buffer> {
    let most = (gpu.device.limits().max_buffer_size / 4 * 4).max(4);
    let buffer = |size| gpu.buffer("staging", size, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
    let (full, rest) = (bytes / most, bytes % most);
    let sizes = std::iter::repeat_n(most, full as usize).chain((rest > 0).then_some(rest));
    sizes.map(buffer).collect()
}
