//! A plan: dispatches, and the tile records that they read.

use super::input::Code;
use super::spans::Storage;
use crate::layout::{Frame, Tile};

/// The dispatches of a step, and the tile records that they read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub dispatches: Vec<Dispatch>,
    pub tiles: Vec<Tile>,
    /// Distance from one class's hyper block to the next one's, in blocks. Few classes lie an alignment apart, so that
    /// a binding can begin at each: a flat dispatch reads the first block of its binding. Many classes lie close
    /// together, and no dispatch is flat.
    pub hyper_stride: u32,
}

/// A binding: a part of a buffer, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Binding {
    pub buffer: u32,
    pub offset: u64,
    pub size: u64,
}

/// Which code a dispatch runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Kernel {
    pub storage: Storage,
    pub tiled: bool,
    /// log2 of the quads that an invocation steps.
    pub quads_log2: u32,
    /// Whether a flat run begins where its bindings do. Most runs that fill a whole buffer do.
    pub at_start: bool,
    pub grad_in_param_buffer: bool,
    pub code: Code,
}

/// One dispatch of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Dispatch {
    pub kernel: Kernel,
    pub param: Binding,
    /// `None` where gradients are read through the parameters' binding.
    pub grad: Option<Binding>,
    pub window: u32,
    /// A tiled dispatch's records in the plan's `tiles`: the first, and the one behind the last.
    pub tiles: Option<(u64, u64)>,
    /// The hyper block at which its binding begins.
    pub first_hyper: u32,
    pub frame: Frame,
    pub workgroups: (u32, u32),
    /// The first and the last tensor, for labels. `pieces` counts all of them.
    pub tensors: (u32, u32),
    pub pieces: u32,
}
