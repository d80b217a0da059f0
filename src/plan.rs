//! The plan of a step: which dispatches cover which elements. Host arithmetic only, no GPU.
//!
//! Pieces of tensors become runs, runs become spans, spans become tile records or flat dispatches:
//!
//! - [`runs`]: pieces that lie next to each other everywhere, of one group and one step count, are one run.
//! - [`spans`]: a run is stepped four elements a word where it can be, and element by element at its odd ends.
//! - [`dispatches`]: spans that share buffers and code share a dispatch, by tile records, unless they are long.

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

/// Plans a step. `planes` tells each window's distance from exp_avg to exp_avg_sq, in elements.
pub(crate) fn plan(input: &Input, planes: &[u64], limits: &Limits) -> Plan {
    let mut runs = runs::merge(input);
    dispatches::plan(&mut runs, input, planes, limits)
}
