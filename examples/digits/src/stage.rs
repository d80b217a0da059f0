//! One entry point of the shader, with its buffers.

use crate::batches::Batch;

/// Threads of a workgroup, for every entry point.
const WORKGROUP: u32 = 64;

/// The number of threads that an entry point needs.
#[derive(Clone, Copy)]
pub(crate) enum Threads {
    Fixed(usize),
    PerDigit(usize),
}

/// A storage buffer, or a range of one, with its name and number in the shader.
pub(crate) struct Binding<'a> {
    pub name: &'static str,
    pub number: u32,
    pub read_only: bool,
    pub range: wgpu::BufferBinding<'a>,
}

/// The common parts of one shader's entry points.
pub(crate) struct Shader<'a> {
    pub device: &'a wgpu::Device,
    pub module: wgpu::ShaderModule,
    /// Group 0 of every entry point.
    pub subject: &'a wgpu::BindGroupLayout,
    /// The bindings of group 1; each entry point uses some of them.
    pub storage: Vec<Binding<'a>>,
}

/// An entry point's compute pipeline and bind group.
pub(crate) struct Stage {
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
    threads: Threads,
}

impl Shader<'_> {
    /// Compiles an entry point and binds its storage buffers.
    pub fn stage(&self, entry_point: &str, threads: Threads, used: &[&str]) -> Stage {
        let label = Some(entry_point);
        let (mut layout_entries, mut entries) = (Vec::new(), Vec::new());
        for binding in self.storage.iter().filter(|binding| used.contains(&binding.name)) {
            let storage = wgpu::BufferBindingType::Storage { read_only: binding.read_only };
            layout_entries.push(layout_entry(binding.number, storage, false));
            entries.push(bind_group_entry(binding.number, &binding.range));
        }
        let layout =
            self.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &layout_entries });
        let pipeline_layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label,
            bind_group_layouts: &[Some(self.subject), Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label,
            layout: Some(&pipeline_layout),
            module: &self.module,
            entry_point: Some(entry_point),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        let bind_group =
            self.device.create_bind_group(&wgpu::BindGroupDescriptor { label, layout: &layout, entries: &entries });
        Stage { pipeline, bind_group, threads }
    }
}

impl Stage {
    /// Records the entry point's dispatch for `batch`, for which group 0 must be set.
    pub fn record(&self, pass: &mut wgpu::ComputePass<'_>, batch: Batch) {
        let threads = match self.threads {
            Threads::Fixed(count) => count as u32,
            Threads::PerDigit(count) => count as u32 * batch.size,
        };
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(1, &self.bind_group, &[]);
        pass.dispatch_workgroups(threads.div_ceil(WORKGROUP), 1, 1);
    }
}

pub(crate) fn layout_entry(
    binding: u32,
    ty: wgpu::BufferBindingType,
    has_dynamic_offset: bool,
) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: None },
        count: None,
    }
}

pub(crate) fn bind_group_entry<'a>(binding: u32, range: &wgpu::BufferBinding<'a>) -> wgpu::BindGroupEntry<'a> {
    wgpu::BindGroupEntry { binding, resource: wgpu::BindingResource::Buffer(range.clone()) }
}
