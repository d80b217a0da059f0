//! Creates shader modules, layouts and pipelines in the same way for all kernels.

/// A storage buffer of a bind group layout, of any size.
pub(super) fn storage((_, binding): (u32, u32), read_only: bool) -> wgpu::BindGroupLayoutEntry {
    buffer(binding, wgpu::BufferBindingType::Storage { read_only }, false, 0)
}

/// A uniform buffer of at least `size` bytes, at a dynamic offset.
pub(super) fn uniform((_, binding): (u32, u32), size: usize) -> wgpu::BindGroupLayoutEntry {
    buffer(binding, wgpu::BufferBindingType::Uniform, true, size)
}

/// A read-only storage buffer, at a dynamic offset.
pub(super) fn request((_, binding): (u32, u32)) -> wgpu::BindGroupLayoutEntry {
    buffer(binding, wgpu::BufferBindingType::Storage { read_only: true }, true, 0)
}

fn buffer(
    binding: u32,
    ty: wgpu::BufferBindingType,
    has_dynamic_offset: bool,
    size: usize,
) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: wgpu::BufferSize::new(size as u64) },
        count: None,
    }
}

pub(super) fn layout(
    device: &wgpu::Device,
    label: &str,
    entries: &[wgpu::BindGroupLayoutEntry],
) -> wgpu::BindGroupLayout {
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(label), entries })
}

pub(super) fn pipeline_layout<const N: usize>(
    device: &wgpu::Device,
    label: &str,
    groups: [&wgpu::BindGroupLayout; N],
) -> wgpu::PipelineLayout {
    device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(label),
        bind_group_layouts: &groups.map(Some),
        immediate_size: 0,
    })
}

pub(super) fn module(device: &wgpu::Device, label: &str, source: &'static str) -> wgpu::ShaderModule {
    let source = wgpu::ShaderSource::Wgsl(source.into());
    device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some(label), source })
}

/// What a pipeline is compiled from.
pub(super) struct Compute<'a> {
    pub label: &'a str,
    pub layout: &'a wgpu::PipelineLayout,
    pub module: &'a wgpu::ShaderModule,
    pub entry_point: &'a str,
    /// The names and values of the shader's overrides.
    pub constants: &'a [(&'a str, f64)],
}

impl Compute<'_> {
    pub(super) fn pipeline(&self, device: &wgpu::Device) -> wgpu::ComputePipeline {
        device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(self.label),
            layout: Some(self.layout),
            module: self.module,
            entry_point: Some(self.entry_point),
            compilation_options: wgpu::PipelineCompilationOptions { constants: self.constants, ..Default::default() },
            cache: None,
        })
    }
}

/// A flag as the value of an override.
pub(super) fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}
