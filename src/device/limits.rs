//! The limits with which a device must have been opened.

use crate::error::Error;
use crate::layout::{HYPERS, Hyper};

/// The lowest limits with which an optimizer works.
fn least_limits() -> wgpu::Limits {
    wgpu::Limits {
        max_bind_groups: 3,
        max_bindings_per_bind_group: 3,
        max_dynamic_uniform_buffers_per_pipeline_layout: 2,
        // Slots can be bound as requests of gradient control, even if it is not used.
        max_dynamic_storage_buffers_per_pipeline_layout: 1,
        max_storage_buffers_per_shader_stage: 4,
        max_uniform_buffers_per_shader_stage: 2,
        max_uniform_buffer_binding_size: HYPERS as u64 * size_of::<Hyper>() as u64,
        max_storage_buffer_binding_size: 1024,
        max_buffer_size: 32 * 1024,
        // At most 32 invocations share a tile record.
        max_compute_invocations_per_workgroup: 32,
        max_compute_workgroup_size_x: 32,
        max_compute_workgroup_size_y: 1,
        max_compute_workgroup_size_z: 1,
        max_compute_workgroups_per_dimension: 1,
        ..wgpu::Limits::downlevel_webgl2_defaults()
    }
}

/// Checks that a device was opened with at least the lowest limits.
pub(crate) fn check_limits(device: &wgpu::Limits) -> Result<(), Error> {
    let needed = least_limits();
    let table: [(&'static str, u64, u64); 12] = [
        ("max_bind_groups", needed.max_bind_groups.into(), device.max_bind_groups.into()),
        (
            "max_dynamic_uniform_buffers_per_pipeline_layout",
            needed.max_dynamic_uniform_buffers_per_pipeline_layout.into(),
            device.max_dynamic_uniform_buffers_per_pipeline_layout.into(),
        ),
        (
            "max_dynamic_storage_buffers_per_pipeline_layout",
            needed.max_dynamic_storage_buffers_per_pipeline_layout.into(),
            device.max_dynamic_storage_buffers_per_pipeline_layout.into(),
        ),
        (
            "max_storage_buffers_per_shader_stage",
            needed.max_storage_buffers_per_shader_stage.into(),
            device.max_storage_buffers_per_shader_stage.into(),
        ),
        (
            "max_uniform_buffers_per_shader_stage",
            needed.max_uniform_buffers_per_shader_stage.into(),
            device.max_uniform_buffers_per_shader_stage.into(),
        ),
        (
            "max_uniform_buffer_binding_size",
            needed.max_uniform_buffer_binding_size,
            device.max_uniform_buffer_binding_size,
        ),
        (
            "max_storage_buffer_binding_size",
            needed.max_storage_buffer_binding_size,
            device.max_storage_buffer_binding_size,
        ),
        ("max_buffer_size", needed.max_buffer_size, device.max_buffer_size),
        (
            "max_compute_invocations_per_workgroup",
            needed.max_compute_invocations_per_workgroup.into(),
            device.max_compute_invocations_per_workgroup.into(),
        ),
        (
            "max_compute_workgroup_size_x",
            needed.max_compute_workgroup_size_x.into(),
            device.max_compute_workgroup_size_x.into(),
        ),
        (
            "max_compute_workgroups_per_dimension",
            needed.max_compute_workgroups_per_dimension.into(),
            device.max_compute_workgroups_per_dimension.into(),
        ),
        (
            "max_bindings_per_bind_group",
            needed.max_bindings_per_bind_group.into(),
            device.max_bindings_per_bind_group.into(),
        ),
    ];
    for (limit, needed, allowed) in table {
        if needed > allowed {
            let what = "wgpu_adam".into();
            let remedy = "with WgpuAdam::required_limits() or what the adapter offers";
            return Err(Error::DeviceLimit { what, limit, needed, allowed, remedy });
        }
    }
    Ok(())
}
