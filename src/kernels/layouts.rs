//! The bind group layouts that kernels share.

use super::build::{layout, request, storage, uniform};
use crate::layout::{Frame, HYPERS, Hyper, binding};
use crate::plan::sharing::Sharing;

/// The bind group layouts, one for each lifetime of contents: the tensors, a plan, a step.
#[derive(Debug)]
pub(crate) struct Layouts {
    pub tensors: wgpu::BindGroupLayout,
    pub plan: wgpu::BindGroupLayout,
    pub step: wgpu::BindGroupLayout,
    /// Group 1 of control.wgsl: the request of a step.
    pub request: wgpu::BindGroupLayout,
}

impl Layouts {
    pub(super) fn new(device: &wgpu::Device) -> Self {
        let tensors = [storage(binding::PARAM, false), storage(binding::GRAD, true), storage(binding::MOMENTS, false)];
        let plan = [storage(binding::TILES, true), uniform(binding::FRAME, size_of::<Frame>())];
        let step = [uniform(binding::HYPERS, HYPERS as usize * size_of::<Hyper>())];
        Self {
            tensors: layout(device, "wgpu_adam.tensors", &tensors),
            plan: layout(device, "wgpu_adam.plan", &plan),
            step: layout(device, "wgpu_adam.step", &step),
            request: layout(device, "wgpu_adam.request", &[request(binding::REQUEST)]),
        }
    }
}

/// The sizes of workgroups and grids on a device, and how invocations share the elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    pub workgroup_size: u32,
    /// Workgroups in a row of a folded grid.
    pub width: u32,
    pub sharing: Sharing,
}
