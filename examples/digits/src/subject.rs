//! Input of all entry points of the shader: the digits of a dispatch, and the factor of the loss.

use crate::batches::{Batch, Batches};
use crate::stage::{bind_group_entry, layout_entry};

/// The uniform is the start of the optimizer's buffer, or a whole buffer of our own.
const LOSS_SCALE_SIZE: u64 = 16;

/// Group 0: the batches, and the loss scale.
pub(crate) struct Subject {
    pub layout: wgpu::BindGroupLayout,
    pub batches: Batches,
    unscaled: wgpu::Buffer,
    /// The optimizer's buffer, if it is bound.
    loss_scale: Option<wgpu::Buffer>,
    bind_group: wgpu::BindGroup,
}

impl Subject {
    /// With whole batches, and a loss without scale.
    pub fn new(device: &wgpu::Device, queue: &wgpu::Queue, train_len: usize, test_len: usize) -> Self {
        let uniform = wgpu::BufferBindingType::Uniform;
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("subject"),
            entries: &[layout_entry(0, uniform, true), layout_entry(1, uniform, false)],
        });
        let unscaled = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("no loss scale"),
            size: LOSS_SCALE_SIZE,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        queue.write_buffer(&unscaled, 0, bytemuck::bytes_of(&1.0_f32));
        let batches = Batches::new(device, queue, train_len, test_len, 1);
        let bind_group = bind_group(device, &layout, &batches, &unscaled);
        Self { layout, batches, unscaled, loss_scale: None, bind_group }
    }

    /// From the next recording on, cuts batches into this many parts and multiplies the loss by the value in
    /// `loss_scale`.
    pub fn set(
        &mut self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        micro_batches: usize,
        loss_scale: Option<&wgpu::Buffer>,
    ) {
        if self.batches.micro_batches() == micro_batches && self.loss_scale.as_ref() == loss_scale {
            return;
        }
        if self.batches.micro_batches() != micro_batches {
            self.batches = self.batches.cut_in(device, queue, micro_batches);
        }
        self.loss_scale = loss_scale.cloned();
        let scale = loss_scale.unwrap_or(&self.unscaled);
        self.bind_group = bind_group(device, &self.layout, &self.batches, scale);
    }

    /// Makes the following dispatches work on `batch`.
    pub fn record(&self, pass: &mut wgpu::ComputePass<'_>, batch: Batch) {
        pass.set_bind_group(0, &self.bind_group, &[batch.offset]);
    }
}

fn bind_group(
    device: &wgpu::Device,
    layout: &wgpu::BindGroupLayout,
    batches: &Batches,
    loss_scale: &wgpu::Buffer,
) -> wgpu::BindGroup {
    let size = wgpu::BufferSize::new(LOSS_SCALE_SIZE);
    let loss_scale = wgpu::BufferBinding { buffer: loss_scale, offset: 0, size };
    let entries = [bind_group_entry(0, &batches.binding()), bind_group_entry(1, &loss_scale)];
    device.create_bind_group(&wgpu::BindGroupDescriptor { label: Some("subject"), layout, entries: &entries })
}
