//! The caller's device and queue, and what the optimizer makes on them.

use std::sync::Arc;

use crate::device::guard::Guard;

/// Clones of the caller's handles, which are cheap, and the guard of the device.
#[derive(Clone, Debug)]
pub(crate) struct Gpu {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub guard: Guard,
    /// The optimizer's, with which the labels of all that it makes begin.
    pub label: Arc<str>,
}

impl Gpu {
    pub(crate) fn new(device: &wgpu::Device, queue: &wgpu::Queue, label: &str) -> Self {
        Self { device: device.clone(), queue: queue.clone(), guard: Guard::new(device), label: label.into() }
    }

    /// Returns the name and the value of the limit on a storage buffer that is bound as a whole, in bytes.
    pub(crate) fn storage_limit(&self) -> (&'static str, u64) {
        let limits = self.device.limits();
        if limits.max_buffer_size < limits.max_storage_buffer_binding_size {
            ("max_buffer_size", limits.max_buffer_size)
        } else {
            ("max_storage_buffer_binding_size", limits.max_storage_buffer_binding_size)
        }
    }

    /// A buffer of zeros. Call it under the guard: the device may have no memory, or be lost.
    pub(crate) fn buffer(&self, name: &str, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        let label = format!("{}: {name}", self.label);
        let (label, mapped_at_creation) = (Some(label.as_str()), false);
        self.device.create_buffer(&wgpu::BufferDescriptor { label, size, usage, mapped_at_creation })
    }

    /// A bind group of resources, each at the binding of its place in the shaders.
    pub(crate) fn bind_group<const N: usize>(
        &self,
        name: &str,
        layout: &wgpu::BindGroupLayout,
        resources: [((u32, u32), wgpu::BindingResource<'_>); N],
    ) -> wgpu::BindGroup {
        let label = format!("{}: {name}", self.label);
        let entries = resources.map(|((_, binding), resource)| wgpu::BindGroupEntry { binding, resource });
        let (label, entries) = (Some(label.as_str()), entries.as_slice());
        self.device.create_bind_group(&wgpu::BindGroupDescriptor { label, layout, entries })
    }
}

/// A part of a buffer to bind, in bytes.
pub(crate) fn part(buffer: &wgpu::Buffer, offset: u64, size: u64) -> wgpu::BindingResource<'_> {
    wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size: wgpu::BufferSize::new(size) })
}
