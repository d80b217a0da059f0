//! Grids of workgroups, folded into rows where one dimension cannot hold them.

use super::dispatch::Dispatch;
use super::input::Limits;
use crate::layout::{NORM_ELEMENTS, TILE_ELEMENTS};

/// Invocations of a workgroup that measures a short run.
const SHORT_WORKGROUP: u32 = 32;

/// The grid that measures the gradients of a dispatch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct NormGrid {
    pub first_partial: u32,
    /// Invocations of a workgroup. Few for a short run, because software adapters run idle invocations too.
    pub workgroup_size: u32,
    pub workgroups: (u32, u32),
}

impl Dispatch {
    /// Returns the grid that measures the dispatch's gradients, and the number of its partial results.
    pub(crate) fn norm_grid(&self, first_partial: u32, limits: &Limits) -> (NormGrid, u32) {
        let length = u64::from(self.frame.length);
        let invocations = match self.tiles {
            Some(_) => length * u64::from(TILE_ELEMENTS / NORM_ELEMENTS),
            None => length.div_ceil(u64::from(NORM_ELEMENTS)),
        };
        let is_short = self.tiles.is_none()
            && 2 * invocations <= u64::from(limits.workgroup_size)
            && invocations.div_ceil(u64::from(SHORT_WORKGROUP)) <= u64::from(limits.workgroups);
        let workgroup_size = limits.workgroup_size.min(if is_short { SHORT_WORKGROUP } else { u32::MAX });
        let workgroups = invocations.div_ceil(u64::from(workgroup_size));
        // In a flat grid every invocation has a partial result, in the last workgroup too. In a tiled grid only
        // invocations with a record have one.
        let partials = if self.tiles.is_some() { invocations } else { workgroups * u64::from(workgroup_size) };
        (NormGrid { first_partial, workgroup_size, workgroups: fold(workgroups, limits) }, partials as u32)
    }
}

pub(super) fn most_workgroups(limits: &Limits) -> u64 {
    u64::from(limits.grid_width()) * u64::from(limits.workgroups)
}

/// A grid for this many workgroups, folded into rows where one dimension cannot hold them. All rows on a device have
/// one width, because the shaders are compiled with it.
pub(super) fn fold(workgroups: u64, limits: &Limits) -> (u32, u32) {
    if workgroups <= u64::from(limits.workgroups) {
        return (workgroups as u32, 1);
    }
    let width = limits.grid_width();
    (width, workgroups.div_ceil(u64::from(width)) as u32)
}
