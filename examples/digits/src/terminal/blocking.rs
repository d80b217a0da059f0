//! Waits for the GPU; the library part never does.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use anyhow::Result;

/// Runs a future of the library to completion, and polls the device meanwhile.
pub fn wait<T>(device: &wgpu::Device, future: impl Future<Output = Result<T>>) -> Result<T> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
            return result;
        }
        device.poll(wgpu::PollType::wait_indefinitely())?;
    }
}
