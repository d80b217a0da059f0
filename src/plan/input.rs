//! The input of a plan: pieces of tensors, their classes, and the limits of the device.

use super::sharing::Sharing;
use crate::layout::GRID_WIDTH;
use crate::options::adam::AdamConfig;

/// A place in a buffer, in elements. Buffers are numbers, so that planning knows nothing of wgpu.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Place {
    pub buffer: u32,
    pub start: u64,
}

/// A piece of a tensor that has a gradient. A plan is made from a list of them, sorted by window, then by place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Work {
    pub tensor: u32,
    pub class: u32,
    pub param: Place,
    pub grad: Place,
    pub window: u32,
    pub moment: u64,
    pub length: u64,
    /// Elements behind the piece that stay zero in the parameters, the gradient and the state alike.
    pub padding: u64,
}

/// Tensors with equal options and equal step counts, which share one hyper block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Class {
    pub group: u32,
    pub code: Code,
    /// Whether zero padding stays zero. With eps = 0 it does not, because 0/0 is NaN.
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
    /// Adds the code that the options of a group select.
    pub(crate) fn with_options(self, config: &AdamConfig) -> Self {
        Self { amsgrad: config.amsgrad, decoupled_weight_decay: config.decoupled_weight_decay, ..self }
    }
}

/// Everything that a plan depends on.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Input {
    pub work: Vec<Work>,
    pub classes: Vec<Class>,
}

/// The device's limits that affect a plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Limits {
    /// The largest storage binding, in bytes.
    pub binding: u64,
    /// A binding's offset is a multiple of this many bytes.
    pub alignment: u64,
    /// The most workgroups in one dimension of a grid.
    pub workgroups: u32,
    /// Invocations of a workgroup.
    pub workgroup_size: u32,
    /// How invocations share the elements. Not a limit, but the best choice for the adapter.
    pub sharing: Sharing,
    /// A uniform binding's offset is a multiple of this many hyper blocks.
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
