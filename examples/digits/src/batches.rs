//! The uniform that tells the shaders which digits a dispatch is about.

use bytemuck::{Pod, Zeroable};

use crate::model::BATCH;

/// Epochs whose losses the loss buffer holds until they are read.
const LOSS_EPOCHS: usize = 16;
/// Distance of the records in the buffer: the largest `minUniformBufferOffsetAlignment` an adapter may have.
const STRIDE: usize = 256;

/// A run of entries of the `rows` buffer, and where the mean loss over it goes.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Record {
    first: u32,
    size: u32,
    loss_slot: u32,
    // Some GL drivers round a uniform block up to 16 bytes and expect as many.
    padding: u32,
}

/// One record: its dynamic offset and how many digits it is about.
#[derive(Clone, Copy)]
pub(crate) struct Batch {
    pub offset: wgpu::DynamicOffset,
    pub size: u32,
}

/// All batches there will ever be, written once: those of [`LOSS_EPOCHS`] epochs, which come round again and again,
/// then the test set, then the drawn digit.
pub(crate) struct Batches {
    buffer: wgpu::Buffer,
    train_len: usize,
    test_len: usize,
}

impl Batches {
    pub fn new(device: &wgpu::Device, queue: &wgpu::Queue, train_len: usize, test_len: usize) -> Self {
        let record = |first: usize, size: usize, loss_slot: usize| Record {
            first: first as u32,
            size: size as u32,
            loss_slot: loss_slot as u32,
            padding: 0,
        };
        let steps_per_epoch = train_len.div_ceil(BATCH);
        let training = (0..LOSS_EPOCHS * steps_per_epoch).map(|slot| {
            let first = slot % steps_per_epoch * BATCH;
            record(first, BATCH.min(train_len - first), slot)
        });
        let others = [record(train_len, test_len, 0), record(train_len + test_len, 1, 0)];
        let bytes: Vec<u8> = training
            .chain(others)
            .flat_map(|record| {
                let mut slot = [0; STRIDE];
                slot[..size_of::<Record>()].copy_from_slice(bytemuck::bytes_of(&record));
                slot
            })
            .collect();
        let buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("batches"),
            size: bytes.len() as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        queue.write_buffer(&buffer, 0, &bytes);
        Self { buffer, train_len, test_len }
    }

    /// The window on one record, which a dynamic offset moves.
    pub fn binding(&self) -> wgpu::BufferBinding<'_> {
        wgpu::BufferBinding { buffer: &self.buffer, offset: 0, size: wgpu::BufferSize::new(size_of::<Record>() as u64) }
    }

    pub fn steps_per_epoch(&self) -> usize {
        self.train_len.div_ceil(BATCH)
    }

    /// How many losses are kept: the loss of a step overwrites the one so many steps before it.
    pub fn loss_slots(&self) -> usize {
        LOSS_EPOCHS * self.steps_per_epoch()
    }

    /// The batch of training step `step`, counted from 0 over all epochs.
    pub fn training(&self, step: u64) -> Batch {
        let slot = (step % self.loss_slots() as u64) as usize;
        let first = slot % self.steps_per_epoch() * BATCH;
        Batch { offset: offset(slot), size: BATCH.min(self.train_len - first) as u32 }
    }

    pub fn test(&self) -> Batch {
        Batch { offset: offset(self.loss_slots()), size: self.test_len as u32 }
    }

    pub fn drawn(&self) -> Batch {
        Batch { offset: offset(self.loss_slots() + 1), size: 1 }
    }
}

fn offset(index: usize) -> wgpu::DynamicOffset {
    (index * STRIDE) as wgpu::DynamicOffset
}
