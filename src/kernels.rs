//! The compute pipelines: one for each storage prelude and combination of options in use, compiled when first needed.
//! All optimizers on a device share them.

mod build;
mod control;
mod devices;
mod layouts;
mod made;
mod move_counts;

use std::sync::Arc;

use crate::device::gpu::Gpu;
use crate::device::guard::Outcome;
use crate::error::Error;
use crate::layout::{ENTRY_POINT, GRID_WIDTH, WORKGROUP_SIZE, overrides};
use crate::plan::sharing::Sharing;
use crate::plan::{Kernel, Storage};

use build::{Compute, flag, module, pipeline_layout};
use made::Made;

pub(crate) use control::ControlPipelines;
pub(crate) use layouts::{Grid, Layouts};
pub(crate) use move_counts::MovePipeline;

const VEC4: &str = concat!(include_str!("../shaders/storage_vec4.wgsl"), include_str!("../shaders/adam.wgsl"));
const SCALAR: &str = concat!(include_str!("../shaders/storage_scalar.wgsl"), include_str!("../shaders/adam.wgsl"));

/// Everything that depends on the device alone. Only optimizers hold it, so it is dropped with the last of them.
#[derive(Debug)]
pub(crate) struct Kernels {
    device: wgpu::Device,
    /// The outcome of creating everything but the pipelines.
    outcome: Outcome,
    pub layouts: Layouts,
    pub grid: Grid,
    /// Bound in place of gradients that are read through the parameters' binding.
    pub unused: wgpu::Buffer,
    pipeline_layout: wgpu::PipelineLayout,
    vec4: wgpu::ShaderModule,
    scalar: wgpu::ShaderModule,
    pipelines: Made<Kernel, wgpu::ComputePipeline>,
    control: Made<(), Arc<ControlPipelines>>,
    moving: Made<(), MovePipeline>,
}

/// Everything that is created together, before any pipeline.
struct Parts {
    layouts: Layouts,
    unused: wgpu::Buffer,
    pipeline_layout: wgpu::PipelineLayout,
    vec4: wgpu::ShaderModule,
    scalar: wgpu::ShaderModule,
}

impl Kernels {
    fn new(gpu: &Gpu) -> Result<Self, Error> {
        let Gpu { device, guard, .. } = gpu;
        let limits = device.limits();
        let sharing = Sharing::of(&device.adapter_info());
        let tile = sharing.tile_invocations();
        let most = limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x);
        let (parts, outcome) = guard.run_shared("the shader modules and layouts", || Parts::new(device))?;
        let Parts { layouts, unused, pipeline_layout, vec4, scalar } = parts;
        Ok(Self {
            device: device.clone(),
            outcome,
            layouts,
            grid: Grid {
                workgroup_size: WORKGROUP_SIZE.min(most / tile * tile),
                width: GRID_WIDTH.min(limits.max_compute_workgroups_per_dimension),
                sharing,
            },
            unused,
            pipeline_layout,
            vec4,
            scalar,
            pipelines: Made::default(),
            control: Made::default(),
            moving: Made::default(),
        })
    }

    /// Returns the pipelines of gradient control. The first request creates them.
    pub(crate) fn control(&self, gpu: &Gpu) -> Result<Arc<ControlPipelines>, Error> {
        self.control.get(&gpu.guard, (), "the pipelines of gradient control", || {
            #[cfg_attr(
                target_family = "wasm",
                expect(clippy::arc_with_non_send_sync, reason = "in a browser no wgpu object leaves its thread")
            )]
            Arc::new(ControlPipelines::new(&gpu.device, &self.layouts, self.grid))
        })
    }

    /// Returns the pipeline that moves counts of skipped steps. The first request creates it.
    pub(crate) fn moving(&self, gpu: &Gpu) -> Result<MovePipeline, Error> {
        let what = "the pipeline that moves counts of skipped steps";
        self.moving.get(&gpu.guard, (), what, || MovePipeline::new(&gpu.device, self.grid))
    }

    /// Returns a pipeline. The first request compiles it.
    pub(crate) fn pipeline(&self, gpu: &Gpu, kernel: Kernel) -> Result<wgpu::ComputePipeline, Error> {
        self.pipelines.get(&gpu.guard, kernel, "a compute pipeline", || self.compile(&gpu.device, kernel))
    }

    fn compile(&self, device: &wgpu::Device, kernel: Kernel) -> wgpu::ComputePipeline {
        let label = label(kernel);
        let module = match kernel.storage {
            Storage::Vec4 => &self.vec4,
            Storage::Scalar => &self.scalar,
        };
        let constants = [
            (overrides::WORKGROUP_SIZE, f64::from(self.grid.workgroup_size)),
            (overrides::GRID_WIDTH, f64::from(self.grid.width)),
            (overrides::QUADS_LOG2, f64::from(kernel.quads_log2)),
            (overrides::TILED, flag(kernel.tiled)),
            (overrides::NEIGHBOURS, flag(self.grid.sharing.neighbours)),
            (overrides::AT_START, flag(kernel.at_start)),
            (overrides::AMSGRAD, flag(kernel.code.amsgrad)),
            (overrides::DECOUPLED_WEIGHT_DECAY, flag(kernel.code.decoupled_weight_decay)),
            (overrides::GRADIENT_CONTROL, flag(kernel.code.gradient_control)),
            (overrides::CLIP_VALUE, flag(kernel.code.clip_value)),
            (overrides::GRAD_IN_PARAM_BUFFER, flag(kernel.grad_in_param_buffer)),
        ];
        let (layout, entry_point, constants) = (&self.pipeline_layout, ENTRY_POINT, &constants);
        Compute { label: &label, layout, module, entry_point, constants }.pipeline(device)
    }
}

impl Parts {
    fn new(device: &wgpu::Device) -> Self {
        let layouts = Layouts::new(device);
        let groups = [&layouts.tensors, &layouts.plan, &layouts.step];
        let pipeline_layout = pipeline_layout(device, "wgpu_adam", groups);
        Self {
            pipeline_layout,
            layouts,
            unused: device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("wgpu_adam.unused"),
                size: 16,
                usage: wgpu::BufferUsages::STORAGE,
                mapped_at_creation: false,
            }),
            vec4: module(device, "wgpu_adam.adam [storage_vec4]", VEC4),
            scalar: module(device, "wgpu_adam.adam [storage_scalar]", SCALAR),
        }
    }
}

/// The name of a kernel in GPU debuggers: the quads of an invocation, and how it differs from the plain kernel.
fn label(kernel: Kernel) -> String {
    let storage = match kernel.storage {
        Storage::Vec4 => "vec4",
        Storage::Scalar => "scalar",
    };
    let options = [
        (kernel.tiled, " tiled"),
        (kernel.at_start, " at_start"),
        (kernel.code.amsgrad, " amsgrad"),
        (kernel.code.decoupled_weight_decay, " decoupled_weight_decay"),
        (kernel.code.gradient_control, " gradient_control"),
        (kernel.code.clip_value, " clip_value"),
        (kernel.grad_in_param_buffer, " grad_in_param_buffer"),
    ];
    let options: String = options.into_iter().filter(|(on, _)| *on).map(|(_, option)| option).collect();
    format!("wgpu_adam.adam [{storage} x{}{options}]", 1 << kernel.quads_log2)
}
