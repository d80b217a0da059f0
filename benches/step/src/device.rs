//! Devices for measuring, and their buffers.

use anyhow::{Context, Result};
use pollster::block_on;
use wgpu_adam_suite::adapter::describe;

use crate::sharing::Sharing;

/// The features that encoder timestamps require.
const TIMESTAMPS: wgpu::Features =
    wgpu::Features::TIMESTAMP_QUERY.union(wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS);

/// The period of the values.
const PATTERN: usize = 1 << 16;
/// The distance between the starts of two tensors within the values.
const SHIFT: usize = 7919;

pub struct Gpu {
    pub name: String,
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
}

impl Gpu {
    /// Opens a device with everything that the adapter offers, and timestamps if it has them.
    pub fn open(adapter: &wgpu::Adapter) -> Result<Self> {
        let name = describe(&adapter.get_info());
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("bench"),
            required_features: if adapter.features().contains(TIMESTAMPS) { TIMESTAMPS } else { Default::default() },
            required_limits: adapter.limits(),
            ..Default::default()
        };
        let opened = block_on(adapter.request_device(&descriptor));
        let (device, queue) = opened.with_context(|| format!("opening a device on {name}"))?;
        Ok(Self { name, device, queue })
    }

    /// wgpu's device without a GPU: on it, recording costs only the time of wgpu and the library.
    pub fn noop() -> Self {
        let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
        Self { name: "noop".into(), device, queue }
    }

    /// How the invocations of a flat dispatch share the elements on this device.
    pub(crate) fn sharing(&self) -> Sharing {
        Sharing::of(&self.device.adapter_info())
    }

    pub fn has_timestamps(&self) -> bool {
        self.device.features().contains(TIMESTAMPS)
    }

    pub fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }

    pub fn buffer(&self, bytes: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("bench"),
            size: bytes.next_multiple_of(4),
            usage,
            mapped_at_creation: false,
        })
    }

    /// A buffer of tensors.
    pub fn storage(&self, elements: u64) -> wgpu::Buffer {
        use wgpu::BufferUsages as Usage;
        self.buffer(4 * elements, Usage::STORAGE | Usage::COPY_DST | Usage::COPY_SRC)
    }

    /// Fills each tensor with the [`Values`] for its index.
    pub fn fill(&self, tensors: impl IntoIterator<Item = Span>) -> Result<()> {
        let values = Values::default();
        for (number, Span { buffer, offset, elements }) in tensors.into_iter().enumerate() {
            let values = values.of(number);
            for start in (0..elements).step_by(values.len()) {
                let length = (elements - start).min(values.len() as u64) as usize;
                self.queue.write_buffer(&buffer, offset + 4 * start, bytemuck::cast_slice(&values[..length]));
            }
        }
        self.wait(self.queue.submit([]))
    }

    /// Waits until the device has finished this submission.
    pub fn wait(&self, submission: wgpu::SubmissionIndex) -> Result<()> {
        self.device.poll(wgpu::PollType::Wait { submission_index: Some(submission), timeout: None })?;
        Ok(())
    }
}

/// Model-like numbers, far from zero and denormals: 0.25 to 0.75, of both signs.
pub struct Values(Vec<f32>);

impl Default for Values {
    fn default() -> Self {
        let mut state = 1_u32;
        let value = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let size = 0.25 + (state >> 9) as f32 / (1 << 24) as f32;
            if state & 0x100 == 0 { size } else { -size }
        };
        Self((0..2 * PATTERN).map(value).collect())
    }
}

impl Values {
    /// A tensor's values, which repeat.
    pub fn of(&self, number: usize) -> &[f32] {
        let begin = number * SHIFT % PATTERN;
        &self.0[begin..begin + PATTERN]
    }
}

/// A tensor's place: offset in bytes, a multiple of 4.
pub struct Span {
    pub buffer: wgpu::Buffer,
    pub offset: u64,
    pub elements: u64,
}

impl Span {
    pub fn whole(buffer: &wgpu::Buffer) -> Self {
        Self { buffer: buffer.clone(), offset: 0, elements: buffer.size() / 4 }
    }
}
