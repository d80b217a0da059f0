//! Waiting for callbacks of wgpu's, in futures that finish under any executor.

use futures::channel::oneshot;

/// What a callback of a submit, or behind it, will have sent. Native: waits by polling the device itself, since the
/// application may have nobody who does.
pub(crate) struct Poller {
    #[cfg(not(target_family = "wasm"))]
    device: wgpu::Device,
    #[cfg(not(target_family = "wasm"))]
    submission: wgpu::SubmissionIndex,
}

impl Poller {
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn new(device: &wgpu::Device, submission: wgpu::SubmissionIndex) -> Self {
        Self { device: device.clone(), submission }
    }

    #[cfg(target_family = "wasm")]
    pub(crate) fn new(_: &wgpu::Device, _: wgpu::SubmissionIndex) -> Self {
        Self {}
    }

    /// What the callback sent; none if it never will.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) async fn wait<T>(&self, mut receiver: oneshot::Receiver<T>) -> Option<T> {
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
    pub(crate) async fn wait<T>(&self, receiver: oneshot::Receiver<T>) -> Option<T> {
        receiver.await.ok()
    }
}
