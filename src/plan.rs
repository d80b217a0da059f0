//! The plan of a step: which dispatches cover which elements. Host arithmetic only, no GPU.
//!
//! Pieces of tensors become runs, runs become spans, spans become tile records or flat dispatches:
//!
//! - [`runs`]: pieces that lie next to each other everywhere, of one group and one step count, are one run.
//! - [`spans`]: a run is stepped four elements a word where it can be, and element by element at its odd ends.
//! - [`dispatches`]: spans that share buffers and code share a dispatch, by tile records, unless they are long.

mod dispatches;
pub(crate) mod ledger;
mod runs;
pub(crate) mod sharing;
mod spans;
#[cfg(test)]
mod tests;

use crate::layout::Tile;
use crate::plan::sharing::Sharing;

pub(crate) use dispatches::{Binding, Dispatch, Kernel, NormGrid};
pub(crate) use spans::Storage;

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

/// The dispatches of a step, and the tile records they read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub dispatches: Vec<Dispatch>,
    pub tiles: Vec<Tile>,
    /// Hyper blocks from one class to the next. Few classes lie apart, so that a binding can begin at each: a flat
    /// dispatch reads the first block of its binding. Many lie close, and flat dispatches are left out.
    pub hyper_stride: u32,
}

/// Plans a step. `planes` tells each window's distance from exp_avg to exp_avg_sq, in elements.
pub(crate) fn plan(input: &Input, planes: &[u64], limits: &Limits) -> Plan {
    let mut runs = runs::merge(input);
    dispatches::plan(&mut runs, input, planes, limits)
}
