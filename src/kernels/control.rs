//! The compute pipelines of gradient control, made when it is first wanted.

use crate::device::gpu::Gpu;
use crate::error::Error;
use crate::kernels::Kernels;
use crate::kernels::made::Made;
use crate::layout::{CONTROL_ENTRY_POINT, NORM_ENTRY_POINT, binding, overrides};
use crate::options::gradient_control::NormType;
use crate::plan::{Kernel, NormGrid, Storage};

const VEC4: &str =
    concat!(include_str!("../../shaders/storage_vec4.wgsl"), include_str!("../../shaders/gradient_norm.wgsl"));
const SCALAR: &str =
    concat!(include_str!("../../shaders/storage_scalar.wgsl"), include_str!("../../shaders/gradient_norm.wgsl"));
const CONTROL: &str =
    concat!(include_str!("../../shaders/bias_correction.wgsl"), include_str!("../../shaders/control.wgsl"));

/// What tells the pipelines of gradient_norm.wgsl apart.
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
    /// Its group 2.
    pub partials: wgpu::BindGroupLayout,
    /// Group 0 of control.wgsl.
    pub control_layout: wgpu::BindGroupLayout,
    pub control: wgpu::ComputePipeline,
    norm_layout: wgpu::PipelineLayout,
    vec4: wgpu::ShaderModule,
    scalar: wgpu::ShaderModule,
    norms: Made<Norm, wgpu::ComputePipeline>,
}

impl ControlPipelines {
    pub(crate) fn new(device: &wgpu::Device, kernels: &Kernels) -> Self {
        let storage = |(_, binding): (u32, u32), read_only| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Storage { read_only },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        };
        let layout = |label, entries: &[wgpu::BindGroupLayoutEntry]| {
            device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(label), entries })
        };
        let grads = layout("wgpu_adam.grads", &[storage(binding::GRAD, true)]);
        let partials = layout("wgpu_adam.control.partials", &[storage(binding::PARTIALS, false)]);
        let control_layout = layout(
            "wgpu_adam.control",
            &[binding::LEDGER, binding::STATE, binding::SKIPPED].map(|place| storage(place, false)),
        );
        let pipeline_layout = |label, bind_group_layouts: &[Option<&wgpu::BindGroupLayout>]| {
            device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(label),
                bind_group_layouts,
                immediate_size: 0,
            })
        };
        let module = |label, source: &'static str| {
            let source = wgpu::ShaderSource::Wgsl(source.into());
            device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some(label), source })
        };
        // The tree of its sums halves.
        let most = kernels.workgroup_size.checked_ilog2().map_or(1, |log2| 1_u32 << log2);
        let size = most.min(kernels.sharing.control_invocations);
        let constants = [(overrides::WORKGROUP_SIZE, f64::from(size))];
        let control = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("wgpu_adam.control"),
            layout: Some(&pipeline_layout(
                "wgpu_adam.control",
                &[Some(&control_layout), Some(&kernels.layouts.request)],
            )),
            module: &module("wgpu_adam.control", CONTROL),
            entry_point: Some(CONTROL_ENTRY_POINT),
            compilation_options: wgpu::PipelineCompilationOptions { constants: &constants, ..Default::default() },
            cache: None,
        });
        Self {
            norm_layout: pipeline_layout(
                "wgpu_adam.gradient_norm",
                &[Some(&grads), Some(&kernels.layouts.plan), Some(&partials)],
            ),
            vec4: module("wgpu_adam.gradient_norm [storage_vec4]", VEC4),
            scalar: module("wgpu_adam.gradient_norm [storage_scalar]", SCALAR),
            norms: Made::default(),
            grads,
            partials,
            control_layout,
            control,
        }
    }

    /// What measures the gradients of a dispatch of this kernel in such a grid, compiled if this is the first request for it.
    pub(crate) fn norm(
        &self,
        gpu: &Gpu,
        kernels: &Kernels,
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
        let flag = |on: bool| f64::from(u8::from(on));
        let constants = [
            (overrides::WORKGROUP_SIZE, f64::from(workgroup_size)),
            (overrides::GRID_WIDTH, f64::from(kernels.grid_width)),
            (overrides::TILED, flag(norm.tiled)),
            (overrides::LARGEST, flag(norm_type == NormType::Infinity)),
        ];
        let tiled = if norm.tiled { " tiled" } else { "" };
        self.norms.get(&gpu.guard, norm, "a compute pipeline", || {
            gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&format!("wgpu_adam.gradient_norm [{storage}{tiled}] {norm_type:?} in {workgroup_size}")),
                layout: Some(&self.norm_layout),
                module,
                entry_point: Some(NORM_ENTRY_POINT),
                compilation_options: wgpu::PipelineCompilationOptions { constants: &constants, ..Default::default() },
                cache: None,
            })
        })
    }
}
