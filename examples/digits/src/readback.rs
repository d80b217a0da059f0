//! Reads floats from GPU buffers, as a future that needs no thread.

use anyhow::{Context, Result};
use futures::channel::oneshot;

/// `count` floats of a buffer with usage `COPY_SRC`, from byte `offset` on.
#[derive(Clone, Copy, Debug)]
pub struct FloatRange<'a> {
    /// The buffer to copy from.
    pub buffer: &'a wgpu::Buffer,
    /// Offset of the floats, in bytes.
    pub offset: u64,
    /// Number of floats.
    pub count: u64,
}

/// Copies of floats on their way to the host, all in one staging buffer.
pub struct Readback {
    staging: wgpu::Buffer,
    end: u64,
}

impl Readback {
    /// Room for `floats` floats.
    pub fn new(device: &wgpu::Device, floats: u64) -> Self {
        let staging = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("readback"),
            size: byte_count(floats),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Self { staging, end: 0 }
    }

    /// Records a copy of the floats. It takes their values at this position in `encoder`.
    pub fn copy(&mut self, encoder: &mut wgpu::CommandEncoder, range: FloatRange<'_>) {
        let length = byte_count(range.count);
        encoder.copy_buffer_to_buffer(range.buffer, range.offset, &self.staging, self.end, length);
        self.end += length;
    }

    /// Submits `encoder` and resolves to all floats in the order of their copies.
    ///
    /// The future borrows nothing, so more work can be submitted while it waits. In a browser the event loop completes
    /// it; natively, someone must call `Device::poll`.
    pub fn submit(
        self,
        queue: &wgpu::Queue,
        encoder: wgpu::CommandEncoder,
    ) -> impl Future<Output = Result<Vec<f32>>> + use<> {
        let Self { staging, end } = self;
        queue.submit([encoder.finish()]);
        let (sender, receiver) = oneshot::channel();
        // An empty range cannot be mapped. Then the sender is dropped and nobody waits for the receiver.
        if end > 0 {
            staging.map_async(wgpu::MapMode::Read, ..end, move |result| {
                // The receiver is gone if the future was dropped.
                let _ = sender.send(result);
            });
        }
        async move {
            if end == 0 {
                return Ok(Vec::new());
            }
            receiver
                .await
                .ok()
                .context("the device went away during a readback")?
                .context("mapping the readback buffer")?;
            let view = staging.get_mapped_range(..end).context("reading the readback buffer")?;
            Ok(bytemuck::pod_collect_to_vec(&view))
        }
    }
}

/// Submits `encoder` with copies of `ranges` at its end. The future resolves to their floats, one range after the
/// other. See [`Readback::submit`].
pub fn submit_and_read(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    mut encoder: wgpu::CommandEncoder,
    ranges: &[FloatRange<'_>],
) -> impl Future<Output = Result<Vec<f32>>> + use<> {
    let mut readback = Readback::new(device, ranges.iter().map(|range| range.count).sum());
    for range in ranges {
        readback.copy(&mut encoder, *range);
    }
    readback.submit(queue, encoder)
}

fn byte_count(floats: u64) -> u64 {
    floats * size_of::<f32>() as u64
}
