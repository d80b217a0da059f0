//! What stays on the device from step to step: the loss scale, the last decisions, and how many steps each tensor
//! skipped.

use std::sync::Arc;

use crate::control::question::Question;
use crate::control::skipped::Counts;
use crate::control::statistics::StatisticsPool;
use crate::device::gpu::Gpu;
use crate::error::Error;
use crate::kernels::{ControlPipelines, Kernels};
use crate::layout::{CONTROL_WORKGROUP_STORAGE, State};
use crate::tensors::tensor::TensorBuffer;

#[derive(Debug)]
pub(crate) struct Controller {
    /// A `State` of control.wgsl.
    pub state: wgpu::Buffer,
    pub skipped: Counts,
    pub question: Question,
    pub pipelines: Arc<ControlPipelines>,
    pub statistics: StatisticsPool,
}

const WHAT: &str = "the buffers of gradient control";

impl Controller {
    pub(crate) fn new(gpu: &Gpu, kernels: &Kernels) -> Result<Self, Error> {
        let (needed, allowed) =
            (CONTROL_WORKGROUP_STORAGE.into(), gpu.device.limits().max_compute_workgroup_storage_size.into());
        if needed > allowed {
            let (what, limit) = ("gradient control".into(), "max_compute_workgroup_storage_size");
            let remedy = "or do without clipping by norm, skipping and loss scales";
            return Err(Error::DeviceLimit { what, limit, needed, allowed, remedy });
        }
        let pipelines = kernels.control(gpu)?;
        let statistics = StatisticsPool::new(gpu)?;
        let skipped = Counts::new(gpu)?;
        gpu.guard.run(WHAT, || {
            let usage = wgpu::BufferUsages::STORAGE
                | wgpu::BufferUsages::UNIFORM
                | wgpu::BufferUsages::COPY_SRC
                | wgpu::BufferUsages::COPY_DST;
            let state = gpu.buffer("control.state", size_of::<State>() as u64, usage);
            let first = State { loss_scale: 1.0, clip_factor: 1.0, ..State::default() };
            gpu.queue.write_buffer(&state, 0, bytemuck::bytes_of(&first));
            Self { state, skipped, question: Question::default(), pipelines, statistics }
        })
    }

    /// Copies the caller's `found_inf` for a step to where the step reads it.
    pub(crate) fn record_found_inf(&self, encoder: &mut wgpu::CommandEncoder, found_inf: &TensorBuffer) {
        let to = std::mem::offset_of!(State, found_inf_outside) as u64;
        encoder.copy_buffer_to_buffer(found_inf.buffer(), found_inf.offset(), &self.state, to, Some(4));
    }
}
