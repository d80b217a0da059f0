//! The compute pipeline that moves counts of skipped steps to a larger buffer.

use crate::kernels::Kernels;
use crate::layout::{MOVE_ENTRY_POINT, binding, overrides};

const SOURCE: &str = include_str!("../../shaders/move_counts.wgsl");
const LABEL: &str = "wgpu_adam.move_counts";

#[derive(Clone, Debug)]
pub(crate) struct MovePipeline {
    pub layout: wgpu::BindGroupLayout,
    pub pipeline: wgpu::ComputePipeline,
}

impl MovePipeline {
    pub(crate) fn new(device: &wgpu::Device, kernels: &Kernels) -> Self {
        let entries = [binding::OUTGROWN, binding::GROWN].map(|(_, binding)| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Storage { read_only: false },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        });
        let layout =
            device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(LABEL), entries: &entries });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(LABEL),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(LABEL),
            source: wgpu::ShaderSource::Wgsl(SOURCE.into()),
        });
        let constants = [(overrides::WORKGROUP_SIZE, f64::from(kernels.workgroup_size))];
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(LABEL),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(MOVE_ENTRY_POINT),
            compilation_options: wgpu::PipelineCompilationOptions { constants: &constants, ..Default::default() },
            cache: None,
        });
        Self { layout, pipeline }
    }
}
