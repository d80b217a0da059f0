//! What a plan is made from: pieces of tensors, their classes, and the limits of the device.

use super::sharing::Sharing;
use crate::layout::GRID_WIDTH;
use crate::options::adam::AdamConfig;

/// A place in a buffer, in elements. Buffers go by numbers, so that planning knows nothing of wgpu.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Place {
    pub buffer: u32,
    pub start: u64,
}

/// A piece of a tensor that has a gradient: what a plan is made of. In the order of windows, then of places.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Work {
    pub tensor: u32,
    pub class: u32,
    pub param: Place,
    pub grad: Place,
    pub window: u32,
    pub moment: u64,
    pub length: u64,
    /// Elements behind the piece that stay zero: in the parameters, the gradient and the state alike.
    pub padding: u64,
}

/// What a group and a step count have in common: they share one hyper block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Class {
    pub group: u32,
    pub code: Code,
    /// Whether zero padding stays zero: not where eps is 0, and 0/0 a NaN.
    pub padding_stays_zero: bool,
}

/// The options of a group that select code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Code {
    pub amsgrad: bool,
    pub decoupled_weight_decay: bool,
    /// Gradients are scaled, or steps may be skipped.
    pub gradient_control: bool,
    pub clip_value: bool,
}

impl Code {
    /// With what the options of a group select.
    pub(crate) fn with_options(self, config: &AdamConfig) -> Self {
        Self { amsgrad: config.amsgrad, decoupled_weight_decay: config.decoupled_weight_decay, ..self }
    }
}

/// All that a plan depends on.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Input {
    pub work: Vec<Work>,
    pub classes: Vec<Class>,
}

/// The device's limits that bear on a plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Limits {
    /// The most bytes that a storage binding spans.
    pub binding: u64,
    /// Bytes of which a binding's offset is a multiple.
    pub alignment: u64,
    /// The most workgroups in one dimension of a grid.
    pub workgroups: u32,
    /// Invocations of a workgroup.
    pub workgroup_size: u32,
    /// How invocations share the elements: best for the adapter, no limit of it.
    pub sharing: Sharing,
    /// Hyper blocks of which a uniform binding's offset is a multiple.
    pub hyper_alignment: u32,
}

impl Limits {
    /// Workgroups in a row of a folded grid.
    pub(crate) fn grid_width(&self) -> u32 {
        GRID_WIDTH.min(self.workgroups)
    }

    /// Tile records that a workgroup steps.
    pub(super) fn tiles_of_workgroup(&self) -> u64 {
        u64::from(self.workgroup_size / self.sharing.tile_invocations())
    }
}
