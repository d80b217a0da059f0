//! The compute pipelines of gradient control, made together when it is first wanted.

use crate::Error;
use crate::gpu::Gpu;
use crate::kernels::Kernels;
use crate::layout::{CONTROL_ENTRY_POINT, NORM_ENTRY_POINT, binding, overrides};
use crate::plan::{Kernel, Storage};

const VEC4: &str =
    concat!(include_str!("../../shaders/storage_vec4.wgsl"), include_str!("../../shaders/gradient_norm.wgsl"));
const SCALAR: &str =
    concat!(include_str!("../../shaders/storage_scalar.wgsl"), include_str!("../../shaders/gradient_norm.wgsl"));
const CONTROL: &str =
    concat!(include_str!("../../shaders/bias_correction.wgsl"), include_str!("../../shaders/control.wgsl"));

#[derive(Debug)]
pub(crate) struct ControlPipelines {
    /// Group 0 of gradient_norm.wgsl.
    pub grads: wgpu::BindGroupLayout,
    /// Its group 2.
    pub partials: wgpu::BindGroupLayout,
    /// Group 0 of control.wgsl.
    pub control_layout: wgpu::BindGroupLayout,
    pub control: wgpu::ComputePipeline,
    /// Vec4 flat and tiled, scalar flat and tiled.
    norms: [wgpu::ComputePipeline; 4],
}

impl ControlPipelines {
    pub(crate) fn new(gpu: &Gpu, kernels: &Kernels) -> Result<Self, Error> {
        let device = &gpu.device;
        gpu.guard.run("the pipelines of gradient control", || {
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
            let pipeline =
                |label: &str, source: &'static str, entry_point, layouts: &[_], constants: &[(&str, f64)]| {
                    let source = wgpu::ShaderSource::Wgsl(source.into());
                    let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                        label: Some(label),
                        bind_group_layouts: layouts,
                        immediate_size: 0,
                    });
                    device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                        label: Some(label),
                        layout: Some(&layout),
                        module: &device
                            .create_shader_module(wgpu::ShaderModuleDescriptor { label: Some(label), source }),
                        entry_point: Some(entry_point),
                        compilation_options: wgpu::PipelineCompilationOptions { constants, ..Default::default() },
                        cache: None,
                    })
                };
            let norm = |label, source, tiled| {
                let constants =
                    [(overrides::WORKGROUP_SIZE, f64::from(kernels.workgroup_size)), (overrides::TILED, tiled)];
                let layouts = [Some(&grads), Some(&kernels.layouts.plan), Some(&partials)];
                pipeline(label, source, NORM_ENTRY_POINT, &layouts, &constants)
            };
            let norms = [
                norm("wgpu_adam.gradient_norm [vec4]", VEC4, 0.0),
                norm("wgpu_adam.gradient_norm [vec4 tiled]", VEC4, 1.0),
                norm("wgpu_adam.gradient_norm [scalar]", SCALAR, 0.0),
                norm("wgpu_adam.gradient_norm [scalar tiled]", SCALAR, 1.0),
            ];
            // The tree of its sums halves.
            let size = kernels.workgroup_size.checked_ilog2().map_or(1, |log2| 1_u32 << log2);
            let constants = [(overrides::WORKGROUP_SIZE, f64::from(size))];
            let layouts = [Some(&control_layout), Some(&kernels.layouts.request)];
            let control = pipeline("wgpu_adam.control", CONTROL, CONTROL_ENTRY_POINT, &layouts, &constants);
            Self { grads, partials, control_layout, control, norms }
        })
    }

    /// What measures the gradients of a dispatch of this kernel.
    pub(crate) fn norm(&self, kernel: Kernel) -> &wgpu::ComputePipeline {
        let [vec4, vec4_tiled, scalar, scalar_tiled] = &self.norms;
        match (kernel.storage, kernel.tiled) {
            (Storage::Vec4, false) => vec4,
            (Storage::Vec4, true) => vec4_tiled,
            (Storage::Scalar, false) => scalar,
            (Storage::Scalar, true) => scalar_tiled,
        }
    }
}
