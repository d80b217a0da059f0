//! Waits for wgpu's callbacks, in futures that finish under any executor.

use futures_channel::oneshot;

/// Waits for what a callback of a submit, or of something behind it, sends. Native: it polls the device itself, because
/// the application may not poll at all.
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

    /// Returns what the callback sent, or `None` if it never will.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) async fn wait<T>(&self, mut receiver: oneshot::Receiver<T>) -> Option<T> {
        std::future::poll_fn(|context| {
            // Waits only a few milliseconds, so that other tasks of the thread have their turn.
            let timeout = Some(std::time::Duration::from_millis(5));
            let wait = wgpu::PollType::Wait { submission_index: Some(self.submission.clone()), timeout };
            // A time-out is not an error here, and other failures show in the callback. The exception is a submit that
            // a lost device did not accept: its callback never comes.
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

    /// Returns what the callback sent, or `None` if it never will.
    #[cfg(target_family = "wasm")]
    pub(crate) async fn wait<T>(&self, receiver: oneshot::Receiver<T>) -> Option<T> {
        receiver.await.ok()
    }
}
