//! Slots: where the hyper blocks, or requests, of recorded steps wait for their submit.
//!
//! Every `queue.write_buffer` lands before the next submit, so steps recorded into one encoder need blocks of their own:
//! a block written twice would be the last one for all of them. Each recorded step leases a slot of a uniform buffer
//! and gives the lease to the encoder. It comes back when the GPU has done the work, or when the encoder is dropped
//! unsubmitted. When all slots are out their number doubles.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Error;
use crate::gpu::Gpu;
use crate::kernels::Layouts;
use crate::layout::{HYPERS, Hyper, binding};

/// Bytes that one dispatch can reach from its dynamic offset.
const REACH: u64 = HYPERS as u64 * size_of::<Hyper>() as u64;
const FIRST_SLOTS: u32 = 8;

#[derive(Debug)]
pub(crate) struct Slots {
    /// Bytes from one slot to the next.
    stride: u64,
    count: u32,
    chunks: Vec<Chunk>,
    free: Free,
    /// Leases are numbered in the order of recording.
    next_lease: u64,
    out: Out,
}

/// The numbers of the slots that no step in flight reads. No wgpu object is in it: what is given to an encoder must be
/// `Send`, in a browser too.
type Free = Arc<Mutex<Vec<u32>>>;

/// The numbers of the leases that are out: of encoders not submitted, and of steps in flight.
type Out = Arc<Mutex<BTreeSet<u64>>>;

/// The leases that were out at one moment, or some of them.
pub(crate) struct Outstanding {
    out: Out,
    before: u64,
}

impl Outstanding {
    /// How many are out still.
    pub(crate) fn count(&self) -> usize {
        lock(&self.out).range(..self.before).count()
    }
}

/// A uniform buffer of slots.
#[derive(Debug)]
struct Chunk {
    first: u32,
    buffer: wgpu::Buffer,
    bind_group: wgpu::BindGroup,
    request: wgpu::BindGroup,
}

/// What makes and fills a chunk.
#[derive(Clone, Copy)]
pub(crate) struct Maker<'a> {
    pub gpu: &'a Gpu,
    pub layouts: &'a Layouts,
}

/// A leased slot: what a step binds, and what it gives to the encoder.
pub(crate) struct Slot<'a> {
    /// The slot as hyper blocks.
    pub bind_group: &'a wgpu::BindGroup,
    /// The slot as a request to control.wgsl.
    pub request: &'a wgpu::BindGroup,
    pub offset: u64,
    pub lease: Lease,
}

/// Returns its slot when dropped.
pub(crate) struct Lease {
    free: Free,
    slot: u32,
    out: Out,
    number: u64,
}

impl Lease {
    /// Ends when the encoder's work is done, or the encoder dropped.
    pub(crate) fn end_with(self, encoder: &wgpu::CommandEncoder) {
        // The whole lease must move in: a closure that named a field would drop the rest of it here.
        encoder.on_submitted_work_done(move || drop(self));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        lock(&self.free).push(self.slot);
        lock(&self.out).remove(&self.number);
    }
}

impl Slots {
    pub(crate) fn new() -> Self {
        Self { stride: 0, count: 0, chunks: Vec::new(), free: Free::default(), next_lease: 0, out: Out::default() }
    }

    /// Makes room for so many bytes a slot. Slots that are too small are given up; steps in flight keep theirs.
    pub(crate) fn fit(&mut self, bytes: usize, maker: Maker<'_>) -> Result<(), Error> {
        let limits = maker.gpu.device.limits();
        let alignment = limits.min_uniform_buffer_offset_alignment.max(limits.min_storage_buffer_offset_alignment);
        let stride = (bytes.max(1) as u64).next_multiple_of(u64::from(alignment).max(256));
        if stride > self.stride {
            let (next_lease, out) = (self.next_lease, Arc::clone(&self.out));
            let mut larger = Self { stride, next_lease, out, ..Self::new() };
            larger.grow(&[], maker)?;
            *self = larger;
        }
        Ok(())
    }

    /// Writes what a step needs into a slot that nothing in flight reads: in steady state by one `write_buffer`.
    pub(crate) fn write(&mut self, bytes: &[u8], maker: Maker<'_>) -> Result<Slot<'_>, Error> {
        let free = lock(&self.free).pop();
        let lease = match free {
            Some(slot) => self.lease(slot),
            None => self.grow(bytes, maker)?,
        };
        let chunk = self.chunk(lease.slot)?;
        let offset = u64::from(lease.slot - chunk.first) * self.stride;
        // A new chunk's first slot was written under its guard.
        if free.is_some() {
            maker.gpu.queue.write_buffer(&chunk.buffer, offset, bytes);
        }
        Ok(Slot { bind_group: &chunk.bind_group, request: &chunk.request, offset, lease })
    }

    fn chunk(&self, slot: u32) -> Result<&Chunk, Error> {
        let missing = || Error::Device { what: "a slot of hyper blocks".into(), message: "it has no buffer".into() };
        self.chunks.iter().rev().find(|chunk| chunk.first <= slot).ok_or_else(missing)
    }

    /// Doubles the number of slots and leases the first new one, with these bytes in it.
    fn grow(&mut self, bytes: &[u8], maker: Maker<'_>) -> Result<Lease, Error> {
        let Maker { gpu: Gpu { device, queue, guard }, layouts } = maker;
        // Offsets are u32; the reach of the last slot goes past its end.
        let most = device.limits().max_buffer_size.min(u64::from(u32::MAX)).saturating_sub(REACH) / self.stride;
        let count = most.min(u64::from(self.count.max(FIRST_SLOTS))) as u32;
        if count == 0 {
            return Err(Error::DeviceLimit {
                what: "a slot of hyper blocks".into(),
                limit: "max_buffer_size",
                needed: self.stride + REACH,
                allowed: device.limits().max_buffer_size,
                remedy: "or give the optimizer fewer groups",
            });
        }
        let first = self.count;
        let chunk = guard.run("a buffer of hyper blocks", || {
            let buffer = device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("wgpu_adam.hypers"),
                size: u64::from(count) * self.stride + REACH,
                usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            let bind = |label, layout, (_, binding): (u32, u32), size| {
                let part = wgpu::BufferBinding { buffer: &buffer, offset: 0, size: wgpu::BufferSize::new(size) };
                let resource = wgpu::BindingResource::Buffer(part);
                let entries = &[wgpu::BindGroupEntry { binding, resource }];
                device.create_bind_group(&wgpu::BindGroupDescriptor { label: Some(label), layout, entries })
            };
            let bind_group = bind("wgpu_adam.step", &layouts.step, binding::HYPERS, REACH);
            let reach = self.stride.min(device.limits().max_storage_buffer_binding_size);
            let request = bind("wgpu_adam.request", &layouts.request, binding::REQUEST, reach);
            queue.write_buffer(&buffer, 0, bytes);
            Chunk { first, buffer, bind_group, request }
        })?;
        self.chunks.push(chunk);
        self.count += count;
        lock(&self.free).extend((first + 1..self.count).rev());
        Ok(self.lease(first))
    }

    fn lease(&mut self, slot: u32) -> Lease {
        let number = self.next_lease;
        self.next_lease += 1;
        lock(&self.out).insert(number);
        Lease { free: Arc::clone(&self.free), slot, out: Arc::clone(&self.out), number }
    }

    /// The leases given so far.
    pub(crate) fn outstanding(&self) -> Outstanding {
        Outstanding { out: Arc::clone(&self.out), before: self.next_lease }
    }
}

/// A poisoned lock is only one that a panicking thread of the application held: what it holds is whole.
fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
