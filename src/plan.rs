//! The plan of a step: which dispatches cover which elements. Host arithmetic only, no GPU.
//!
//! Pieces of tensors become runs, runs become spans, spans become tile records or flat dispatches:
//!
//! - [`runs`]: pieces of one class that are adjacent in parameters, gradient and state form one run.
//! - [`spans`]: a run is stepped by quads where possible, and element by element at its odd ends.
//! - [`dispatches`]: short spans that share buffers and code share a tiled dispatch; long ones get a flat dispatch
//!   each.

mod dispatch;
mod dispatches;
mod grids;
mod input;
pub(crate) mod ledger;
mod runs;
pub(crate) mod sharing;
mod spans;
#[cfg(test)]
mod tests;

pub(crate) use dispatch::{Binding, Dispatch, Kernel, Plan};
pub(crate) use grids::NormGrid;
pub(crate) use input::{Class, Code, Input, Limits, Place, Work};
pub(crate) use spans::Storage;

/// Plans a step. `planes` holds each window's distance from exp_avg to exp_avg_sq, in elements.
pub(crate) fn plan(input: &Input, planes: &[u64], limits: &Limits) -> Plan {
    let mut runs = runs::merge(input);
    dispatches::plan(&mut runs, input, planes, limits)
}
