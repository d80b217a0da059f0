//! The compute pipelines: one for each way of storing and combination of options in use, made when first needed. All
//! optimizers on a device share them.

mod control;
mod devices;
mod made;
mod move_counts;

use std::sync::Arc;

use crate::device::gpu::Gpu;
use crate::device::guard::Outcome;
use crate::error::Error;
use crate::layout::{ENTRY_POINT, Frame, GRID_WIDTH, HYPERS, Hyper, WORKGROUP_SIZE, binding, overrides};
use crate::plan::sharing::Sharing;
use crate::plan::{Kernel, Storage};

use made::Made;

pub(crate) use control::ControlPipelines;
pub(crate) use move_counts::MovePipeline;

const VEC4: &str = concat!(include_str!("../shaders/storage_vec4.wgsl"), include_str!("../shaders/adam.wgsl"));
const SCALAR: &str = concat!(include_str!("../shaders/storage_scalar.wgsl"), include_str!("../shaders/adam.wgsl"));

/// The bind group layouts, by how long their contents last: the tensors, a plan, a step.
#[derive(Debug)]
pub(crate) struct Layouts {
    pub tensors: wgpu::BindGroupLayout,
    pub plan: wgpu::BindGroupLayout,
    pub step: wgpu::BindGroupLayout,
    /// Of control.wgsl: what is to be decided for a step.
    pub request: wgpu::BindGroupLayout,
}

/// What depends on the device alone. Nobody but optimizers holds it: it goes with the last of them.
#[derive(Debug)]
pub(crate) struct Kernels {
    device: wgpu::Device,
    /// Of making all but the pipelines.
    outcome: Outcome,
    pub layouts: Layouts,
    pub workgroup_size: u32,
    /// Workgroups in a row of a folded grid.
    pub grid_width: u32,
    pub sharing: Sharing,
    /// Stands in for gradients where they are read through the parameters' binding.
    pub unused: wgpu::Buffer,
    pipeline_layout: wgpu::PipelineLayout,
    vec4: wgpu::ShaderModule,
    scalar: wgpu::ShaderModule,
    pipelines: Made<Kernel, wgpu::ComputePipeline>,
    control: Made<(), Arc<ControlPipelines>>,
    moving: Made<(), MovePipeline>,
}

/// What is made at once, before any pipeline.
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
            workgroup_size: WORKGROUP_SIZE.min(most / tile * tile),
            grid_width: GRID_WIDTH.min(limits.max_compute_workgroups_per_dimension),
            sharing,
            unused,
            pipeline_layout,
            vec4,
            scalar,
            pipelines: Made::default(),
            control: Made::default(),
            moving: Made::default(),
        })
    }

    /// The pipelines of gradient control, made if this is the first request for them.
    pub(crate) fn control(&self, gpu: &Gpu) -> Result<Arc<ControlPipelines>, Error> {
        self.control.get(&gpu.guard, (), "the pipelines of gradient control", || {
            #[cfg_attr(
                target_family = "wasm",
                expect(clippy::arc_with_non_send_sync, reason = "in a browser no wgpu object leaves its thread")
            )]
            Arc::new(ControlPipelines::new(&gpu.device, self))
        })
    }

    /// The pipeline that moves counts of skipped steps, made if this is the first request for it.
    pub(crate) fn moving(&self, gpu: &Gpu) -> Result<MovePipeline, Error> {
        let what = "the pipeline that moves counts of skipped steps";
        self.moving.get(&gpu.guard, (), what, || MovePipeline::new(&gpu.device, self))
    }

    /// The pipeline, compiled if this is the first request for it.
    pub(crate) fn pipeline(&self, gpu: &Gpu, kernel: Kernel) -> Result<wgpu::ComputePipeline, Error> {
        self.pipelines.get(&gpu.guard, kernel, "a compute pipeline", || self.compile(&gpu.device, kernel))
    }

    fn compile(&self, device: &wgpu::Device, kernel: Kernel) -> wgpu::ComputePipeline {
        let flag = |on: bool| f64::from(u8::from(on));
        let label = label(kernel);
        let module = match kernel.storage {
            Storage::Vec4 => &self.vec4,
            Storage::Scalar => &self.scalar,
        };
        let constants = [
            (overrides::WORKGROUP_SIZE, f64::from(self.workgroup_size)),
            (overrides::GRID_WIDTH, f64::from(self.grid_width)),
            (overrides::QUADS_LOG2, f64::from(kernel.quads_log2)),
            (overrides::TILED, flag(kernel.tiled)),
            (overrides::NEIGHBOURS, flag(self.sharing.neighbours)),
            (overrides::AT_START, flag(kernel.at_start)),
            (overrides::AMSGRAD, flag(kernel.code.amsgrad)),
            (overrides::DECOUPLED_WEIGHT_DECAY, flag(kernel.code.decoupled_weight_decay)),
            (overrides::GRADIENT_CONTROL, flag(kernel.code.gradient_control)),
            (overrides::CLIP_VALUE, flag(kernel.code.clip_value)),
            (overrides::GRAD_IN_PARAM_BUFFER, flag(kernel.grad_in_param_buffer)),
        ];
        device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&label),
            layout: Some(&self.pipeline_layout),
            module,
            entry_point: Some(ENTRY_POINT),
            compilation_options: wgpu::PipelineCompilationOptions { constants: &constants, ..Default::default() },
            cache: None,
        })
    }
}

impl Parts {
    fn new(device: &wgpu::Device) -> Self {
        let layouts = Layouts::new(device);
        let bind_group_layouts = [Some(&layouts.tensors), Some(&layouts.plan), Some(&layouts.step)];
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some("wgpu_adam"),
            bind_group_layouts: &bind_group_layouts,
            immediate_size: 0,
        });
        let module = |label, source: &'static str| {
            let source = wgpu::ShaderSource::Wgsl(source.into());
            device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some(label), source })
        };
        Self {
            pipeline_layout,
            layouts,
            unused: device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("wgpu_adam.unused"),
                size: 16,
                usage: wgpu::BufferUsages::STORAGE,
                mapped_at_creation: false,
            }),
            vec4: module("wgpu_adam.adam [storage_vec4]", VEC4),
            scalar: module("wgpu_adam.adam [storage_scalar]", SCALAR),
        }
    }
}

/// The name of a kernel in GPU debuggers: the quads of an invocation, and what it does differently from the plain one.
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

impl Layouts {
    fn new(device: &wgpu::Device) -> Self {
        let entry = |(_, binding): (u32, u32), ty, has_dynamic_offset, size: usize| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty,
                has_dynamic_offset,
                min_binding_size: wgpu::BufferSize::new(size as u64),
            },
            count: None,
        };
        let storage = |place, read_only| entry(place, wgpu::BufferBindingType::Storage { read_only }, false, 0);
        let uniform = |place, size| entry(place, wgpu::BufferBindingType::Uniform, true, size);
        let layout = |label, entries: &[wgpu::BindGroupLayoutEntry]| {
            device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(label), entries })
        };
        Self {
            tensors: layout(
                "wgpu_adam.tensors",
                &[storage(binding::PARAM, false), storage(binding::GRAD, true), storage(binding::MOMENTS, false)],
            ),
            plan: layout(
                "wgpu_adam.plan",
                &[storage(binding::TILES, true), uniform(binding::FRAME, size_of::<Frame>())],
            ),
            step: layout("wgpu_adam.step", &[uniform(binding::HYPERS, HYPERS as usize * size_of::<Hyper>())]),
            request: layout(
                "wgpu_adam.request",
                &[entry(binding::REQUEST, wgpu::BufferBindingType::Storage { read_only: true }, true, 0)],
            ),
        }
    }
}
