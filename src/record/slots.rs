//! Slots: where the hyper blocks or requests of recorded steps wait for their submit.
//!
//! Every `queue.write_buffer` lands before the next submit, so steps recorded into one encoder need blocks of their
//! own: if a block were written twice, all of them would read the last contents. Each recorded step leases a slot of a
//! uniform buffer and gives the lease to the encoder. The slot is free again when the GPU has done the work, or when
//! the encoder is dropped unsubmitted. When all slots are leased, their number doubles.

use crate::device::gpu::{Gpu, part};
use crate::device::leases::{Lease, Leases, Outstanding};
use crate::error::Error;
use crate::kernels::Layouts;
use crate::layout::{HYPERS, Hyper, binding};

/// Bytes that one dispatch can address from its dynamic offset.
const REACH: u64 = HYPERS as u64 * size_of::<Hyper>() as u64;
const FIRST_SLOTS: u32 = 8;

#[derive(Debug)]
pub(crate) struct Slots {
    /// Bytes from one slot to the next.
    stride: u64,
    count: u32,
    chunks: Vec<Chunk>,
    leases: Leases,
}

/// A uniform buffer of slots.
#[derive(Debug)]
struct Chunk {
    first: u32,
    buffer: wgpu::Buffer,
    bind_group: wgpu::BindGroup,
    request: wgpu::BindGroup,
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

impl Slots {
    pub(crate) fn new() -> Self {
        Self { stride: 0, count: 0, chunks: Vec::new(), leases: Leases::default() }
    }

    /// Makes room for `bytes` bytes in each slot. Slots that are too small are replaced; steps in flight keep theirs.
    pub(crate) fn fit(&mut self, bytes: usize, gpu: &Gpu, layouts: &Layouts) -> Result<(), Error> {
        let limits = gpu.device.limits();
        let alignment = limits.min_uniform_buffer_offset_alignment.max(limits.min_storage_buffer_offset_alignment);
        let stride = (bytes.max(1) as u64).next_multiple_of(u64::from(alignment).max(256));
        if stride > self.stride {
            let mut larger = Self { stride, leases: self.leases.renewed(), ..Self::new() };
            larger.grow(&[], gpu, layouts)?;
            *self = larger;
        }
        Ok(())
    }

    /// Writes a step's bytes into a slot that nothing in flight reads. In steady state this is one `write_buffer`.
    pub(crate) fn write(&mut self, bytes: &[u8], gpu: &Gpu, layouts: &Layouts) -> Result<Slot<'_>, Error> {
        let free = self.leases.take();
        let is_new = free.is_none();
        let lease = match free {
            Some(lease) => lease,
            None => self.grow(bytes, gpu, layouts)?,
        };
        let chunk = self.chunk(lease.slot)?;
        let offset = u64::from(lease.slot - chunk.first) * self.stride;
        // The first slot of a new chunk was written under the chunk's guard.
        if !is_new {
            gpu.queue.write_buffer(&chunk.buffer, offset, bytes);
        }
        Ok(Slot { bind_group: &chunk.bind_group, request: &chunk.request, offset, lease })
    }

    fn chunk(&self, slot: u32) -> Result<&Chunk, Error> {
        let missing = || Error::Device { what: "a slot of hyper blocks".into(), message: "it has no buffer".into() };
        self.chunks.iter().rev().find(|chunk| chunk.first <= slot).ok_or_else(missing)
    }

    /// Doubles the number of slots, leases the first new one, and writes these bytes into it.
    fn grow(&mut self, bytes: &[u8], gpu: &Gpu, layouts: &Layouts) -> Result<Lease, Error> {
        let Gpu { device, queue, guard, .. } = gpu;
        // Offsets are u32. A binding at the last slot extends past the end of that slot.
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
            let buffer = gpu.buffer(
                "hypers",
                u64::from(count) * self.stride + REACH,
                wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
            );
            let hypers = [(binding::HYPERS, part(&buffer, 0, REACH))];
            let bind_group = gpu.bind_group("step", &layouts.step, hypers);
            let reach = self.stride.min(device.limits().max_storage_buffer_binding_size);
            let request = [(binding::REQUEST, part(&buffer, 0, reach))];
            let request = gpu.bind_group("request", &layouts.request, request);
            queue.write_buffer(&buffer, 0, bytes);
            Chunk { first, buffer, bind_group, request }
        })?;
        self.chunks.push(chunk);
        self.count += count;
        self.leases.add(first + 1..self.count);
        Ok(self.leases.lease(first))
    }

    /// Returns the leases given so far.
    pub(crate) fn outstanding(&self) -> Outstanding {
        self.leases.outstanding()
    }
}
