//! The model's buffers: the digits, the layers' results, and the losses.

use crate::data::{CLASSES, Dataset, Digit, PIXELS};
use crate::model::{BATCH, HIDDEN};

/// A digit is uploaded as its pixels and its class.
pub(crate) const COLUMNS: usize = PIXELS + 1;

/// All buffers of the model except its parameters. Each holds rows of 4-byte numbers.
pub(crate) struct Buffers {
    /// The training set, the test set, and one digit that a user drew.
    pub digits: wgpu::Buffer,
    /// The rows of `digits` in each batch: the training set in the epoch's order, the others in their own order.
    pub rows: wgpu::Buffer,
    pub inputs: wgpu::Buffer,
    pub hidden: wgpu::Buffer,
    pub logits: wgpu::Buffer,
    pub losses: wgpu::Buffer,
    pub logits_grad: wgpu::Buffer,
    pub hidden_grad: wgpu::Buffer,
}

impl Buffers {
    pub fn new(device: &wgpu::Device, queue: &wgpu::Queue, dataset: &Dataset, loss_slots: usize) -> Self {
        let storage = |label, len: usize, other_usages| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size: (len * size_of::<f32>()) as u64,
                usage: wgpu::BufferUsages::STORAGE | other_usages,
                mapped_at_creation: false,
            })
        };
        let written = wgpu::BufferUsages::COPY_DST;
        let read = wgpu::BufferUsages::COPY_SRC;
        let inner = wgpu::BufferUsages::empty();
        let all_digits = dataset.train.len() + dataset.test.len() + 1;
        let largest_batch = BATCH.max(dataset.test.len());
        let buffers = Self {
            digits: storage("digits", all_digits * COLUMNS, written),
            rows: storage("rows", all_digits, written),
            inputs: storage("inputs", largest_batch * COLUMNS, inner),
            hidden: storage("hidden", largest_batch * HIDDEN, inner),
            logits: storage("logits", largest_batch * CLASSES, read),
            losses: storage("losses", loss_slots, read),
            logits_grad: storage("logits.grad", BATCH * CLASSES, inner),
            hidden_grad: storage("hidden.grad", BATCH * HIDDEN, inner),
        };
        let table: Vec<f32> = dataset.train.iter().chain(&dataset.test).flat_map(columns).collect();
        queue.write_buffer(&buffers.digits, 0, bytemuck::cast_slice(&table));
        let unpermuted: Vec<u32> = (0..all_digits as u32).collect();
        queue.write_buffer(&buffers.rows, 0, bytemuck::cast_slice(&unpermuted));
        buffers
    }

    /// Replaces the drawn digit, the last row of `digits`.
    pub fn write_drawn(&self, queue: &wgpu::Queue, pixels: &[f32; PIXELS]) {
        let row_size = (COLUMNS * size_of::<f32>()) as u64;
        queue.write_buffer(&self.digits, self.digits.size() - row_size, bytemuck::cast_slice(pixels));
    }
}

fn columns(digit: &Digit) -> impl Iterator<Item = f32> + '_ {
    digit.pixels.iter().copied().chain([f32::from(digit.label)])
}
