//! The compute pipelines of gradient control, created when gradient control is first used.

use super::build::{Compute, flag, layout, module, pipeline_layout, storage};
use super::layouts::{Grid, Layouts};
use super::made::Made;
use crate::device::gpu::Gpu;
use crate::error::Error;
use crate::layout::{CONTROL_ENTRY_POINT, NORM_ENTRY_POINT, binding, overrides};
use crate::options::gradient_control::NormType;
use crate::plan::{Kernel, NormGrid, Storage};

const VEC4: &str =
    concat!(include_str!("../../shaders/storage_vec4.wgsl"), include_str!("../../shaders/gradient_norm.wgsl"));
const SCALAR: &str =
    concat!(include_str!("../../shaders/storage_scalar.wgsl"), include_str!("../../shaders/gradient_norm.wgsl"));
const CONTROL: &str =
    concat!(include_str!("../../shaders/bias_correction.wgsl"), include_str!("../../shaders/control.wgsl"));

/// What distinguishes the pipelines of gradient_norm.wgsl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Norm {
    storage: Storage,
    tiled: bool,
    norm_type: NormType,
    workgroup_size: u32,
}

#[derive(Debug)]
pub(crate) struct ControlPipelines {
    /// Group 0 of gradient_norm.wgsl.
    pub grads: wgpu::BindGroupLayout,
    /// Group 2 of gradient_norm.wgsl.
    pub partials: wgpu::BindGroupLayout,
    /// Group 0 of control.wgsl.
    pub control_layout: wgpu::BindGroupLayout,
    pub control: wgpu::ComputePipeline,
    grid: Grid,
    norm_layout: wgpu::PipelineLayout,
    vec4: wgpu::ShaderModule,
    scalar: wgpu::ShaderModule,
    norms: Made<Norm, wgpu::ComputePipeline>,
}

impl ControlPipelines {
    pub(super) fn new(device: &wgpu::Device, layouts: &Layouts, grid: Grid) -> Self {
        let grads = layout(device, "wgpu_adam.grads", &[storage(binding::GRAD, true)]);
        let partials = layout(device, "wgpu_adam.control.partials", &[storage(binding::PARTIALS, false)]);
        let entries = [binding::LEDGER, binding::STATE, binding::SKIPPED].map(|place| storage(place, false));
        let control_layout = layout(device, "wgpu_adam.control", &entries);
        // A power of two, because the shader sums in a tree that halves at each level.
        let most = grid.workgroup_size.checked_ilog2().map_or(1, |log2| 1_u32 << log2);
        let size = most.min(grid.sharing.control_invocations);
        let label = "wgpu_adam.control";
        let control = Compute {
            label,
            layout: &pipeline_layout(device, label, [&control_layout, &layouts.request]),
            module: &module(device, label, CONTROL),
            entry_point: CONTROL_ENTRY_POINT,
            constants: &[(overrides::WORKGROUP_SIZE, f64::from(size))],
        };
        let groups = [&grads, &layouts.plan, &partials];
        Self {
            norm_layout: pipeline_layout(device, "wgpu_adam.gradient_norm", groups),
            vec4: module(device, "wgpu_adam.gradient_norm [storage_vec4]", VEC4),
            scalar: module(device, "wgpu_adam.gradient_norm [storage_scalar]", SCALAR),
            norms: Made::default(),
            control: control.pipeline(device),
            grid,
            grads,
            partials,
            control_layout,
        }
    }

    /// Returns the pipeline that measures the gradients of a dispatch of this kernel in this grid. The first request
    /// compiles it.
    pub(crate) fn norm(
        &self,
        gpu: &Gpu,
        kernel: Kernel,
        norm_type: NormType,
        grid: NormGrid,
    ) -> Result<wgpu::ComputePipeline, Error> {
        let workgroup_size = grid.workgroup_size;
        let norm = Norm { storage: kernel.storage, tiled: kernel.tiled, norm_type, workgroup_size };
        let (module, storage) = match norm.storage {
            Storage::Vec4 => (&self.vec4, "vec4"),
            Storage::Scalar => (&self.scalar, "scalar"),
        };
        let constants = [
            (overrides::WORKGROUP_SIZE, f64::from(workgroup_size)),
            (overrides::GRID_WIDTH, f64::from(self.grid.width)),
            (overrides::TILED, flag(norm.tiled)),
            (overrides::LARGEST, flag(norm_type == NormType::Infinity)),
        ];
        let tiled = if norm.tiled { " tiled" } else { "" };
        self.norms.get(&gpu.guard, norm, "a compute pipeline", || {
            let label = format!("wgpu_adam.gradient_norm [{storage}{tiled}] {norm_type:?} in {workgroup_size}");
            let (layout, entry_point, constants) = (&self.norm_layout, NORM_ENTRY_POINT, &constants);
            Compute { label: &label, layout, module, entry_point, constants }.pipeline(&gpu.device)
        })
    }
}
