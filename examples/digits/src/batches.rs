//! The uniform that says which digits a dispatch works on; batches are cut into micro-batches.

use bytemuck::{Pod, Zeroable};

use crate::model::BATCH;

/// Epochs whose losses the loss buffer holds until they are read.
const LOSS_EPOCHS: usize = 16;
/// Distance of the records in the buffer: the largest `minUniformBufferOffsetAlignment` an adapter may have.
const STRIDE: usize = 256;

/// A range of entries of the `rows` buffer, the slot of its mean loss, and its part in a batch.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Record {
    first: u32,
    size: u32,
    loss_slot: u32,
    goes_on: u32,
    gradient_divisor: f32,
    loss_divisor: f32,
    // Some GL drivers round a uniform block up to 16 bytes and require a binding of that size.
    padding: [u32; 2],
}

/// One record: its dynamic offset and its number of digits.
#[derive(Clone, Copy)]
pub(crate) struct Batch {
    pub offset: wgpu::DynamicOffset,
    pub size: u32,
}

/// All batches, written once: those of [`LOSS_EPOCHS`] epochs, which are used again in turn, then the test set, then
/// the drawn digit.
pub(crate) struct Batches {
    buffer: wgpu::Buffer,
    train_len: usize,
    test_len: usize,
    micro_batches: usize,
}

impl Batches {
    /// Makes training batches of `micro_batches` parts, from 1 to [`BATCH`].
    pub fn new(
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        train_len: usize,
        test_len: usize,
        micro_batches: usize,
    ) -> Self {
        let steps_per_epoch = train_len.div_ceil(BATCH);
        let slots = LOSS_EPOCHS * steps_per_epoch;
        let mut bytes = vec![0; (slots * micro_batches + 2) * STRIDE];
        let mut write = |index: usize, record: Record| {
            bytes[index * STRIDE..][..size_of::<Record>()].copy_from_slice(bytemuck::bytes_of(&record));
        };
        for slot in 0..slots {
            let first = slot % steps_per_epoch * BATCH;
            let parts = cut(first, BATCH.min(train_len - first), slot, micro_batches);
            parts.enumerate().for_each(|(part, record)| write(slot * micro_batches + part, record));
        }
        write(slots * micro_batches, whole(train_len, test_len, 0));
        write(slots * micro_batches + 1, whole(train_len + test_len, 1, 0));
        let buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("batches"),
            size: bytes.len() as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        queue.write_buffer(&buffer, 0, &bytes);
        Self { buffer, train_len, test_len, micro_batches }
    }

    /// The same batches, cut into another number of parts.
    pub fn cut_in(&self, device: &wgpu::Device, queue: &wgpu::Queue, micro_batches: usize) -> Self {
        Self::new(device, queue, self.train_len, self.test_len, micro_batches)
    }

    /// The number of parts of a training batch.
    pub fn micro_batches(&self) -> usize {
        self.micro_batches
    }

    /// A binding of one record, which a dynamic offset moves.
    pub fn binding(&self) -> wgpu::BufferBinding<'_> {
        wgpu::BufferBinding { buffer: &self.buffer, offset: 0, size: wgpu::BufferSize::new(size_of::<Record>() as u64) }
    }

    pub fn steps_per_epoch(&self) -> usize {
        self.train_len.div_ceil(BATCH)
    }

    /// The number of losses that are kept: a step's loss overwrites the one this many steps before.
    pub fn loss_slots(&self) -> usize {
        LOSS_EPOCHS * self.steps_per_epoch()
    }

    /// The micro-batches of training step `step`, counted from 0 over all epochs.
    pub fn training(&self, step: u64) -> impl Iterator<Item = Batch> {
        let slot = (step % self.loss_slots() as u64) as usize;
        let first = slot % self.steps_per_epoch() * BATCH;
        let index = slot * self.micro_batches;
        let parts = cut(first, BATCH.min(self.train_len - first), slot, self.micro_batches).enumerate();
        parts.map(move |(part, record)| Batch { offset: offset(index + part), size: record.size })
    }

    pub fn test(&self) -> Batch {
        Batch { offset: offset(self.loss_slots() * self.micro_batches), size: self.test_len as u32 }
    }

    pub fn drawn(&self) -> Batch {
        Batch { offset: offset(self.loss_slots() * self.micro_batches + 1), size: 1 }
    }
}

fn whole(first: usize, size: usize, loss_slot: usize) -> Record {
    let (divisor, first, size, loss_slot) = (size as f32, first as u32, size as u32, loss_slot as u32);
    Record { first, size, loss_slot, goes_on: 0, gradient_divisor: divisor, loss_divisor: divisor, padding: [0; 2] }
}

/// Cuts a batch into this many parts, or into single digits if it has fewer. All digits have the same weight, whatever
/// the sizes of the parts. The optimizer divides the sum of the parts' gradients by `micro_batches`, so each part
/// divides by the batch's size over `micro_batches`.
fn cut(first: usize, size: usize, loss_slot: usize, micro_batches: usize) -> impl Iterator<Item = Record> {
    let parts = micro_batches.min(size);
    (0..parts).map(move |part| {
        let (start, end) = (part * size / parts, (part + 1) * size / parts);
        Record {
            goes_on: u32::from(part > 0),
            gradient_divisor: size as f32 / micro_batches as f32,
            loss_divisor: if part + 1 == parts { size as f32 } else { 1.0 },
            ..whole(first + start, end - start, loss_slot)
        }
    })
}

fn offset(index: usize) -> wgpu::DynamicOffset {
    (index * STRIDE) as wgpu::DynamicOffset
}
