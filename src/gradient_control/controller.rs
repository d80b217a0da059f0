//! What lives on the device from step to step: the loss scale, what was decided last, how many steps each tensor did
//! not take.

use crate::Error;
use crate::gpu::Gpu;
use crate::kernels::{ControlPipelines, Kernels};
use crate::layout::State;
use crate::statistics::Ring;

#[derive(Debug)]
pub(crate) struct Controller {
    /// A `State` of control.wgsl.
    pub state: wgpu::Buffer,
    /// A u32 for each tensor, by its number.
    pub skipped: wgpu::Buffer,
    /// Where the counts were before the buffer grew: the next recorded step copies them.
    pub outgrown: Option<wgpu::Buffer>,
    pub pipelines: ControlPipelines,
    pub ring: Ring,
}

const WHAT: &str = "the buffers of gradient control";
/// Tensors for which there is room at first: growing is for large models, or many changes.
const TENSORS: u64 = 1024;

impl Controller {
    pub(crate) fn new(gpu: &Gpu, kernels: &Kernels) -> Result<Self, Error> {
        let pipelines = ControlPipelines::new(gpu, kernels)?;
        let ring = Ring::new(gpu)?;
        gpu.guard.run(WHAT, || {
            let usage = wgpu::BufferUsages::STORAGE
                | wgpu::BufferUsages::UNIFORM
                | wgpu::BufferUsages::COPY_SRC
                | wgpu::BufferUsages::COPY_DST;
            let state = gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("wgpu_adam.control.state"),
                size: size_of::<State>() as u64,
                usage,
                mapped_at_creation: false,
            });
            let first = State { loss_scale: 1.0, clip_factor: 1.0, ..State::default() };
            gpu.queue.write_buffer(&state, 0, bytemuck::bytes_of(&first));
            Self { state, skipped: counts(gpu, TENSORS), outgrown: None, pipelines, ring }
        })
    }

    /// Makes room for so many tensors.
    pub(crate) fn fit(&mut self, gpu: &Gpu, tensors: u32) -> Result<(), Error> {
        if u64::from(tensors) * 4 > self.skipped.size() {
            let larger = gpu.guard.run(WHAT, || counts(gpu, u64::from(tensors).next_power_of_two()))?;
            let outgrown = std::mem::replace(&mut self.skipped, larger);
            // Where the counts have not been copied yet, those are the ones.
            self.outgrown.get_or_insert(outgrown);
        }
        Ok(())
    }

    /// Forgets all steps that were skipped: their tensors' counts are those of the host from here on.
    pub(crate) fn forget_skips(&mut self, gpu: &Gpu) -> Result<(), Error> {
        self.skipped = gpu.guard.run(WHAT, || counts(gpu, self.skipped.size() / 4))?;
        self.outgrown = None;
        Ok(())
    }
}

fn counts(gpu: &Gpu, tensors: u64) -> wgpu::Buffer {
    gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("wgpu_adam.control.skipped"),
        size: tensors * 4,
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}
