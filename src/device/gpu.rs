//! The caller's device and queue, and the limit that the optimizer reads from them.

use crate::device::guard::Guard;

/// Clones of the caller's handles, which are cheap, and the guard of the device.
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

    /// Returns the name and the value of the limit on a storage buffer that is bound as a whole, in bytes.
    pub(crate) fn storage_limit(&self) -> (&'static str, u64) {
        let limits = self.device.limits();
        if limits.max_buffer_size < limits.max_storage_buffer_binding_size {
            ("max_buffer_size", limits.max_buffer_size)
        } else {
            ("max_storage_buffer_binding_size", limits.max_storage_buffer_binding_size)
        }
    }
}
