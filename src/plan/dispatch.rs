//! What a plan is: dispatches, and the tile records that they read.

use super::input::Code;
use super::spans::Storage;
use crate::layout::{Frame, Tile};

/// The dispatches of a step, and the tile records they read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub dispatches: Vec<Dispatch>,
    pub tiles: Vec<Tile>,
    /// Hyper blocks from one class to the next. Few classes lie apart, so that a binding can begin at each: a flat
    /// dispatch reads the first block of its binding. Many lie close, and flat dispatches are left out.
    pub hyper_stride: u32,
}

/// A part of a buffer, in bytes: a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Binding {
    pub buffer: u32,
    pub offset: u64,
    pub size: u64,
}

/// What code a dispatch runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Kernel {
    pub storage: Storage,
    pub tiled: bool,
    /// Quads that an invocation steps, as a power of two.
    pub quads_log2: u32,
    /// A flat run that begins where its bindings do: most do that are a whole buffer.
    pub at_start: bool,
    pub grad_in_param_buffer: bool,
    pub code: Code,
}

/// One dispatch of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Dispatch {
    pub kernel: Kernel,
    pub param: Binding,
    /// None where gradients are read through the parameters' binding.
    pub grad: Option<Binding>,
    pub window: u32,
    /// The records of a tiled dispatch among all of the plan's: the first, and the one behind the last.
    pub tiles: Option<(u64, u64)>,
    /// The first hyper block in its reach.
    pub first_hyper: u32,
    pub frame: Frame,
    pub workgroups: (u32, u32),
    /// The first and the last tensor, for labels, and how many there are.
    pub tensors: (u32, u32),
    pub pieces: u32,
}
