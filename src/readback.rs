//! Copies from the GPU to the host.

use futures::channel::oneshot;

use crate::Error;
use crate::gpu::Gpu;
use crate::slots::Outstanding;

/// Bytes to read.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub buffer: wgpu::Buffer,
    pub offset: u64,
    pub size: u64,
}

/// A copy on its way: made at one moment in the order of submits, read when it is there.
pub(crate) struct Readback {
    staged: Vec<Staged>,
    /// How many steps had not been submitted when the GPU made the copy.
    unsubmitted: oneshot::Receiver<usize>,
    #[cfg(not(target_family = "wasm"))]
    device: wgpu::Device,
    #[cfg(not(target_family = "wasm"))]
    submission: wgpu::SubmissionIndex,
}

/// A staging buffer, its bytes in use, and the news that it is mapped.
struct Staged {
    buffer: wgpu::Buffer,
    used: u64,
    mapped: oneshot::Receiver<Result<(), wgpu::BufferAsyncError>>,
}

const WHAT: &str = "the copy of the state";
/// The largest staging buffer.
const STAGING: u64 = 64 << 20;

impl Readback {
    /// Copies and submits. `recorded` are the steps whose effects the copy must show.
    pub(crate) fn new(gpu: &Gpu, sources: &[Source], recorded: Outstanding) -> Result<Self, Error> {
        let Gpu { device, queue, guard } = gpu;
        let most = STAGING.min(device.limits().max_buffer_size / 4 * 4);
        guard.run(WHAT, || {
            let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(WHAT) });
            let mut rest: u64 = sources.iter().map(|source| source.size).sum();
            let mut filled: Vec<(wgpu::Buffer, u64)> = Vec::new();
            for source in sources {
                let mut from = 0;
                while from < source.size {
                    let open = filled.last_mut().filter(|(buffer, used)| *used < buffer.size());
                    let (buffer, used) = match open {
                        Some(open) => open,
                        None => {
                            filled.push((staging(device, rest.min(most)), 0));
                            let Some(new) = filled.last_mut() else { break };
                            new
                        }
                    };
                    let size = (source.size - from).min(buffer.size() - *used);
                    encoder.copy_buffer_to_buffer(&source.buffer, source.offset + from, buffer, *used, Some(size));
                    *used += size;
                    from += size;
                    rest -= size;
                }
            }
            // Callbacks come in the order of submits: leases of steps submitted before are back by then, and those of steps
            // submitted behind the copy are not.
            let (sender, unsubmitted) = oneshot::channel();
            encoder.on_submitted_work_done(move || {
                // The receiver is gone if nobody waits any more; so below.
                let _ = sender.send(recorded.count());
            });
            let submission = queue.submit([encoder.finish()]);
            let map = |(buffer, used): (wgpu::Buffer, u64)| {
                let (sender, mapped) = oneshot::channel();
                buffer.map_async(wgpu::MapMode::Read, .., move |result| drop(sender.send(result)));
                Staged { buffer, used, mapped }
            };
            #[cfg(target_family = "wasm")]
            let _ = submission;
            Self {
                staged: filled.into_iter().map(map).collect(),
                unsubmitted,
                #[cfg(not(target_family = "wasm"))]
                device: device.clone(),
                #[cfg(not(target_family = "wasm"))]
                submission,
            }
        })
    }

    /// All bytes, in the order of the sources; an error if recorded steps are not in them.
    pub(crate) async fn bytes(self) -> Result<Vec<u8>, Error> {
        let failed = |message: String| Error::Device { what: WHAT.into(), message };
        let gone = || failed("the device is lost".into());
        let mut bytes = Vec::with_capacity(self.staged.iter().map(|staged| staged.used as usize).sum());
        #[cfg(not(target_family = "wasm"))]
        let poller = Poller { device: self.device, submission: self.submission };
        #[cfg(target_family = "wasm")]
        let poller = Poller {};
        for Staged { buffer, used, mapped } in self.staged {
            poller.wait(mapped).await.ok_or_else(gone)?.map_err(|error| failed(error.to_string()))?;
            let range = buffer.get_mapped_range(..used).map_err(|error| failed(error.to_string()))?;
            bytes.extend_from_slice(&range);
            drop(range);
            buffer.unmap();
        }
        match poller.wait(self.unsubmitted).await.ok_or_else(gone)? {
            0 => Ok(bytes),
            steps => Err(Error::UnsubmittedSteps { steps }),
        }
    }
}

fn staging(device: &wgpu::Device, size: u64) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("wgpu_adam.staging"),
        size,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}

/// Waits for callbacks of wgpu's. Native: by polling the device itself, since the application may have nobody who does.
struct Poller {
    #[cfg(not(target_family = "wasm"))]
    device: wgpu::Device,
    #[cfg(not(target_family = "wasm"))]
    submission: wgpu::SubmissionIndex,
}

impl Poller {
    /// What the callback sent; none if it never will.
    #[cfg(not(target_family = "wasm"))]
    async fn wait<T>(&self, mut receiver: oneshot::Receiver<T>) -> Option<T> {
        std::future::poll_fn(|context| {
            // For a few milliseconds, so that other tasks of the thread have their turn.
            let timeout = Some(std::time::Duration::from_millis(5));
            let wait = wgpu::PollType::Wait { submission_index: Some(self.submission.clone()), timeout };
            // A time-out is no error here, and what else may go wrong shows in the callback: but for a submit that the
            // device, being lost, did not take.
            let never = matches!(self.device.poll(wait), Err(wgpu::PollError::WrongSubmissionIndex(..)));
            match std::pin::Pin::new(&mut receiver).poll(context) {
                std::task::Poll::Pending if never => std::task::Poll::Ready(None),
                std::task::Poll::Pending => {
                    context.waker().wake_by_ref();
                    std::task::Poll::Pending
                }
                polled => polled.map(Result::ok),
            }
        })
        .await
    }

    /// What the callback sent; none if it never will.
    #[cfg(target_family = "wasm")]
    async fn wait<T>(&self, receiver: oneshot::Receiver<T>) -> Option<T> {
        receiver.await.ok()
    }
}
