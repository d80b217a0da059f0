//! The ledger of a plan: the layout of its buffer for gradient control. Host arithmetic only.

use super::dispatch::Plan;
use super::grids::NormGrid;
use super::input::Limits;
use crate::layout::{HYPERS, Hyper};
use crate::options::gradient_control::NormType;

/// Where everything lies in a ledger, in units of 16 bytes.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// The norm that the partial results belong to. With `None` nothing is measured, and there are no partial results.
    pub measured: Option<NormType>,
    pub grids: Vec<NormGrid>,
    pub partials: u32,
    pub first_partial: u32,
    pub first_block: u32,
    blocks: usize,
}

impl Ledger {
    /// Lays out the ledger of a plan with `blocks` hyper blocks and `stepping` tensors.
    pub(crate) fn new(
        plan: &Plan,
        measured: Option<NormType>,
        stepping: usize,
        blocks: usize,
        limits: &Limits,
    ) -> Self {
        let first_partial = stepping.div_ceil(4) as u32;
        let mut partials = 0;
        let grids = plan.dispatches.iter().map(|dispatch| {
            if measured.is_none() {
                return NormGrid::default();
            }
            let (grid, count) = dispatch.norm_grid(first_partial + partials, limits);
            partials += count;
            grid
        });
        let grids = grids.collect();
        // Hyper blocks are bound as uniforms, so they begin at a uniform binding's alignment.
        let aligned = (limits.hyper_alignment * size_of::<Hyper>() as u32 / 16).max(16);
        let first_block = (first_partial + partials).next_multiple_of(aligned);
        Self { measured, grids, partials, first_partial, first_block, blocks }
    }

    /// The size of the ledger in bytes. Includes room behind the last block, where the last dispatch's binding may end.
    pub(crate) fn bytes(&self) -> u64 {
        u64::from(self.first_block) * 16 + (self.blocks as u64 + u64::from(HYPERS)) * size_of::<Hyper>() as u64
    }
}
