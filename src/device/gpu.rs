//! The caller's device and queue, and what the optimizer asks of them.

use crate::device::guard::Guard;

/// Cheap clones of the caller's handles.
#[derive(Clone, Debug)]
pub(crate) struct Gpu {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub guard: Guard,
}

impl Gpu {
    pub(crate) fn new(device: &wgpu::Device, queue: &wgpu::Queue) -> Self {
        Self { device: device.clone(), queue: queue.clone(), guard: Guard::new(device) }
    }

    /// The limit on the bytes of a storage buffer that is bound as a whole, and its name.
    pub(crate) fn storage_limit(&self) -> (&'static str, u64) {
        let limits = self.device.limits();
        if limits.max_buffer_size < limits.max_storage_buffer_binding_size {
            ("max_buffer_size", limits.max_buffer_size)
        } else {
            ("max_storage_buffer_binding_size", limits.max_storage_buffer_binding_size)
        }
    }
}
