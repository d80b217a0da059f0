//! Floats from GPU buffers, as a future that needs no thread.

use anyhow::{Context, Result};
use futures::channel::oneshot;

/// `count` floats of a buffer with usage `COPY_SRC`, from byte `offset` on.
#[derive(Clone, Copy, Debug)]
pub struct FloatRange<'a> {
    /// The buffer to copy from.
    pub buffer: &'a wgpu::Buffer,
    /// Where the floats begin, in bytes.
    pub offset: u64,
    /// How many floats.
    pub count: u64,
}

/// Submits `encoder` with copies of `ranges` behind it; the future resolves to their floats, one range after the other.
///
/// The future borrows nothing, so that more work can be submitted while it waits. In a browser the event loop completes
/// it; natively somebody has to call `Device::poll`.
pub fn submit_and_read(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    mut encoder: wgpu::CommandEncoder,
    ranges: &[FloatRange<'_>],
) -> impl Future<Output = Result<Vec<f32>>> + use<> {
    let byte_count = |floats: u64| floats * size_of::<f32>() as u64;
    let size = byte_count(ranges.iter().map(|range| range.count).sum());
    let staging = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("readback"),
        size,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut end = 0;
    for range in ranges {
        let length = byte_count(range.count);
        encoder.copy_buffer_to_buffer(range.buffer, range.offset, &staging, end, length);
        end += length;
    }
    queue.submit([encoder.finish()]);

    let (sender, receiver) = oneshot::channel();
    // An empty range cannot be mapped; its sender is dropped unused and its receiver not waited for.
    if size > 0 {
        staging.map_async(wgpu::MapMode::Read, .., move |result| {
            // The receiver is gone if the future was dropped: then nobody wants the floats.
            let _ = sender.send(result);
        });
    }
    async move {
        if size == 0 {
            return Ok(Vec::new());
        }
        receiver
            .await
            .ok()
            .context("the device went away during a readback")?
            .context("mapping the readback buffer")?;
        let view = staging.get_mapped_range(..).context("reading the readback buffer")?;
        Ok(bytemuck::pod_collect_to_vec(&view))
    }
}
