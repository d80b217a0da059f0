//! What a plan needs under gradient control, to measure gradients and to make hyper blocks on the device: a ledger, and
//! the bind groups around it.

use crate::control::controller::Controller;
use crate::device::gpu::part;
use crate::error::Error;
use crate::kernels::Kernels;
use crate::layout::{HYPERS, Hyper, NORM_ENTRY_POINT, binding};
use crate::options::gradient_control::NormType;
use crate::plan::ledger::Ledger;
use crate::plan::{Dispatch, NormGrid, Plan};
use crate::record::bound::{Binder, Bound};

/// A plan's part of gradient control. The ledger holds the numbers of the stepping tensors, the partial results of
/// gradient_norm.wgsl, and the hyper blocks that control.wgsl makes.
#[derive(Debug)]
pub(crate) struct BoundControl {
    /// The norm by which gradients are measured, if they are.
    pub measured: Option<NormType>,
    pub norms: Vec<BoundNorm>,
    /// Group 2 of gradient_norm.wgsl.
    pub partials_group: wgpu::BindGroup,
    /// Group 0 of control.wgsl.
    pub group: wgpu::BindGroup,
    /// Group 2 of adam.wgsl, in place of a slot's.
    pub hypers: wgpu::BindGroup,
    pub stepping: u32,
    /// In units of 16 bytes, like the places in the ledger.
    pub partials: u32,
    pub first_partial: u32,
    pub first_block: u32,
    /// The place of the hyper blocks in the ledger, in bytes.
    pub hypers_at: u64,
}

/// A dispatch that measures the gradients of another.
#[derive(Debug)]
pub(crate) struct BoundNorm {
    pub pipeline: wgpu::ComputePipeline,
    pub grads: wgpu::BindGroup,
    pub workgroups: (u32, u32),
}

impl BoundControl {
    /// Records the dispatches that measure the gradients of the stepping dispatches.
    pub(crate) fn record_norms(&self, pass: &mut wgpu::ComputePass<'_>, bound: &Bound) {
        for (norm, dispatch) in self.norms.iter().zip(&bound.dispatches) {
            pass.set_pipeline(&norm.pipeline);
            pass.set_bind_group(0, &norm.grads, &[]);
            pass.set_bind_group(1, &dispatch.plan, &[dispatch.frame]);
            pass.set_bind_group(2, &self.partials_group, &[]);
            pass.dispatch_workgroups(norm.workgroups.0, norm.workgroups.1, 1);
        }
    }
}

const WHAT: &str = "the ledger of gradient control";

impl Binder<'_> {
    /// Creates what gradient control needs for a bound plan.
    pub(crate) fn bind_control(
        self,
        plan: &Plan,
        ledger: &Ledger,
        stepping: &[u32],
        controller: &mut Controller,
        skipped: &wgpu::Buffer,
        kernels: &Kernels,
    ) -> Result<BoundControl, Error> {
        let gpu = self.gpu;
        let (limit, allowed) = gpu.storage_limit();
        if ledger.bytes() > allowed {
            let remedy = "or do without clipping by norm and skipping";
            return Err(Error::DeviceLimit { what: WHAT.into(), limit, needed: ledger.bytes(), allowed, remedy });
        }
        let pipelines = self.norm_pipelines(plan, ledger, controller)?;
        let layouts = &controller.pipelines;
        gpu.guard.run(WHAT, || {
            let buffer = gpu.buffer(
                "control.ledger",
                ledger.bytes(),
                wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            );
            gpu.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(stepping));
            let mut norms = Vec::with_capacity(pipelines.len());
            for ((dispatch, grid), pipeline) in plan.dispatches.iter().zip(&ledger.grids).zip(pipelines) {
                let grad = dispatch.grad.unwrap_or(dispatch.param);
                let missing = || Error::Device { what: WHAT.into(), message: "a gradient has no buffer".into() };
                let buffer = self.buffers.get(grad.buffer).ok_or_else(missing)?;
                let grads = [(binding::GRAD, part(buffer, grad.offset, grad.size))];
                norms.push(BoundNorm {
                    pipeline,
                    grads: gpu.bind_group(NORM_ENTRY_POINT, &layouts.grads, grads),
                    workgroups: grid.workgroups,
                });
            }
            let partials = [(binding::PARTIALS, buffer.as_entire_binding())];
            let control = [
                (binding::LEDGER, buffer.as_entire_binding()),
                (binding::STATE, controller.state.as_entire_binding()),
                (binding::SKIPPED, skipped.as_entire_binding()),
            ];
            let hypers = part(&buffer, 0, u64::from(HYPERS) * size_of::<Hyper>() as u64);
            Ok(BoundControl {
                measured: ledger.measured,
                norms,
                partials_group: gpu.bind_group("control.partials", &layouts.partials, partials),
                group: gpu.bind_group("control", &layouts.control_layout, control),
                hypers: gpu.bind_group("control.hypers", &kernels.layouts.step, [(binding::HYPERS, hypers)]),
                stepping: stepping.len() as u32,
                partials: ledger.partials,
                first_partial: ledger.first_partial,
                first_block: ledger.first_block,
                hypers_at: u64::from(ledger.first_block) * 16,
            })
        })?
    }

    /// The pipelines that measure the gradients of each dispatch, if any are measured.
    fn norm_pipelines(
        self,
        plan: &Plan,
        ledger: &Ledger,
        controller: &Controller,
    ) -> Result<Vec<wgpu::ComputePipeline>, Error> {
        let Some(norm_type) = ledger.measured else { return Ok(Vec::new()) };
        let measured = plan.dispatches.iter().zip(&ledger.grids);
        let norm = |(dispatch, grid): (&Dispatch, &NormGrid)| {
            controller.pipelines.norm(self.gpu, dispatch.kernel, norm_type, *grid)
        };
        measured.map(norm).collect()
    }
}
