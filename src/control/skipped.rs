//! For each tensor, how many steps it should have taken but skipped. The device counts them, in a buffer that grows
//! with the number of tensors.
//!
//! When the buffer grows, steps that are recorded and not submitted may still count in the old one, and nobody knows
//! which encoders will be submitted. So every step recorded from then on first adds the old counts to the new ones and
//! clears the old ones. Steps stop doing so when an encoder that did it is known to have been submitted. No count is
//! lost or added twice, whichever encoders are submitted, and however many.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::device::gpu::Gpu;
use crate::error::Error;
use crate::kernels::{Kernels, MovePipeline};
use crate::layout::binding;
use crate::transfer::readback::Source;

#[derive(Debug)]
pub(crate) struct Counts {
    /// A u32 for each tensor, by its number.
    pub current: wgpu::Buffer,
    outgrown: Vec<Outgrown>,
    /// Created when first needed.
    pipeline: Option<MovePipeline>,
}

/// A buffer that was too small, and whose counts may not have been moved yet.
#[derive(Debug)]
struct Outgrown {
    buffer: wgpu::Buffer,
    /// Binds it together with the buffer to which its counts are added.
    bind_group: wgpu::BindGroup,
    /// Set when an encoder that moved the counts is done. Not a wgpu object, because what an encoder receives must be
    /// `Send`, even in a browser.
    moved: Arc<AtomicBool>,
}

const WHAT: &str = "the counts of skipped steps";
/// The number of tensors that have room at first. Only large models or many changes need more.
const TENSORS: u64 = 1024;

impl Counts {
    pub(crate) fn new(gpu: &Gpu) -> Result<Self, Error> {
        let current = gpu.guard.run(WHAT, || buffer(gpu, (TENSORS * 4).min(gpu.storage_limit().1 / 4 * 4)))?;
        Ok(Self { current, outgrown: Vec::new(), pipeline: None })
    }

    /// Returns new counts of the same size, all zero, for state that is loaded. Steps recorded before count in the old
    /// ones.
    pub(crate) fn renewed(&self, gpu: &Gpu) -> Result<Self, Error> {
        let current = gpu.guard.run(WHAT, || buffer(gpu, self.current.size()))?;
        Ok(Self { current, outgrown: Vec::new(), pipeline: self.pipeline.clone() })
    }

    /// Returns counts for `tensors` tensors, to replace these; `None` if these have room.
    pub(crate) fn grown(&self, gpu: &Gpu, kernels: &Kernels, tensors: u32) -> Result<Option<Self>, Error> {
        let (needed, (limit, allowed)) = (u64::from(tensors) * 4, gpu.storage_limit());
        if needed <= self.current.size() {
            return Ok(None);
        }
        if needed > allowed {
            let remedy = "or give the optimizer fewer tensors";
            return Err(Error::DeviceLimit { what: WHAT.into(), limit, needed, allowed, remedy });
        }
        let pipeline = match &self.pipeline {
            Some(pipeline) => pipeline.clone(),
            None => kernels.moving(gpu)?,
        };
        gpu.guard.run(WHAT, || {
            let current = buffer(gpu, needed.next_power_of_two().min(allowed / 4 * 4));
            let outgrown = self.outgrown.iter().map(|old| (&old.buffer, Arc::clone(&old.moved)));
            let outgrown = outgrown.chain([(&self.current, Arc::default())]).map(|(buffer, moved)| {
                let places = [(binding::OUTGROWN, buffer), (binding::GROWN, &current)];
                let resources = places.map(|(place, buffer)| (place, buffer.as_entire_binding()));
                let bind_group = gpu.bind_group("control.outgrown", &pipeline.layout, resources);
                Outgrown { buffer: buffer.clone(), bind_group, moved }
            });
            Some(Self { outgrown: outgrown.collect(), current: current.clone(), pipeline: Some(pipeline.clone()) })
        })
    }

    /// Moves what may be left in outgrown buffers. The caller must call [`watch`](Self::watch) afterwards.
    pub(crate) fn record_moves(&mut self, pass: &mut wgpu::ComputePass<'_>) {
        self.outgrown.retain(|old| !old.moved.load(Ordering::Acquire));
        let Some(MovePipeline { pipeline, .. }) = &self.pipeline else { return };
        for old in &self.outgrown {
            pass.set_pipeline(pipeline);
            pass.set_bind_group(0, &old.bind_group, &[]);
            pass.dispatch_workgroups(1, 1, 1);
        }
    }

    /// Releases outgrown buffers when this encoder is done. If it is dropped without a submit, the callback never
    /// comes.
    pub(crate) fn watch(&self, encoder: &wgpu::CommandEncoder) {
        for old in &self.outgrown {
            let moved = Arc::clone(&old.moved);
            encoder.on_submitted_work_done(move || moved.store(true, Ordering::Release));
        }
    }

    /// All buffers with counts. A tensor's counts in them must be added.
    pub(crate) fn sources(&self) -> impl Iterator<Item = Source> {
        self.buffers().map(|buffer| Source { buffer: buffer.clone(), offset: 0, size: buffer.size() })
    }

    /// Resets the count of a tensor that starts over.
    pub(crate) fn clear(&self, encoder: &mut wgpu::CommandEncoder, tensor: u32) {
        let offset = u64::from(tensor) * 4;
        for buffer in self.buffers().filter(|buffer| offset < buffer.size()) {
            encoder.clear_buffer(buffer, offset, Some(4));
        }
    }

    fn buffers(&self) -> impl Iterator<Item = &wgpu::Buffer> {
        std::iter::once(&self.current).chain(self.outgrown.iter().map(|old| &old.buffer))
    }
}

fn buffer(gpu: &Gpu, size: u64) -> wgpu::Buffer {
    gpu.buffer(
        "control.skipped",
        size,
        wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
    )
}
