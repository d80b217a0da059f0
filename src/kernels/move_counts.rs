//! The compute pipeline that moves counts of skipped steps to a larger buffer.

use super::build::{Compute, layout, module, pipeline_layout, storage};
use super::layouts::Grid;
use crate::layout::{MOVE_ENTRY_POINT, binding, overrides};

const SOURCE: &str = include_str!("../../shaders/move_counts.wgsl");
const LABEL: &str = "wgpu_adam.move_counts";

#[derive(Clone, Debug)]
pub(crate) struct MovePipeline {
    pub layout: wgpu::BindGroupLayout,
    pub pipeline: wgpu::ComputePipeline,
}

impl MovePipeline {
    pub(super) fn new(device: &wgpu::Device, grid: Grid) -> Self {
        let entries = [binding::OUTGROWN, binding::GROWN].map(|place| storage(place, false));
        let layout = layout(device, LABEL, &entries);
        let compute = Compute {
            label: LABEL,
            layout: &pipeline_layout(device, LABEL, [&layout]),
            module: &module(device, LABEL, SOURCE),
            entry_point: MOVE_ENTRY_POINT,
            constants: &[(overrides::WORKGROUP_SIZE, f64::from(grid.workgroup_size))],
        };
        let pipeline = compute.pipeline(device);
        Self { layout, pipeline }
    }
}
