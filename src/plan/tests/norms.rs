//! Repeats the addressing of gradient_norm.wgsl over a plan: every element of every gradient is measured exactly once,
//! and every partial result that control.wgsl reads is written exactly once.

use std::collections::{HashMap, HashSet};

use crate::layout::{Hyper, NORM_ELEMENTS, Tile};
use crate::options::gradient_control::NormType;
use crate::plan::ledger::Ledger;
use crate::plan::{Dispatch, Input, Limits, Plan};

/// Checks what a ledger of the plan measures against the plan's input.
pub(super) fn check(plan: &Plan, input: &Input, limits: &Limits) -> Result<(), String> {
    let blocks = input.classes.len() * plan.hyper_stride as usize;
    let stepping = input.work.iter().map(|work| work.tensor).collect::<HashSet<_>>().len();
    let ledger = Ledger::new(plan, Some(NormType::Two), stepping, blocks, limits);
    let first = stepping.div_ceil(4) as u32;
    if ledger.first_partial != first || ledger.first_block < first + ledger.partials {
        return Err(format!("parts of the ledger overlap: {ledger:?}"));
    }
    if !(ledger.first_block * 16).is_multiple_of(limits.hyper_alignment * size_of::<Hyper>() as u32) {
        return Err(format!("hyper blocks from {} on cannot be bound", ledger.first_block));
    }
    let mut measured = Measured::default();
    for (dispatch, grid) in plan.dispatches.iter().zip(&ledger.grids) {
        let (columns, rows) = grid.workgroups;
        if columns.max(rows) > limits.workgroups || (rows > 1 && columns != limits.grid_width()) {
            return Err(format!("a grid of {columns} x {rows}, {limits:?}"));
        }
        for workgroup in (0..rows).flat_map(|row| (0..columns).map(move |x| row * limits.grid_width() + x)) {
            measured.workgroup(plan, dispatch, workgroup, grid.first_partial, grid.workgroup_size)?;
        }
    }
    measured.check(input, first, ledger.partials)
}

#[derive(Default)]
struct Measured {
    /// How often each element is measured.
    elements: HashMap<(u32, u64), u32>,
    partials: HashSet<u32>,
}

impl Measured {
    fn workgroup(
        &mut self,
        plan: &Plan,
        dispatch: &Dispatch,
        workgroup: u32,
        first_partial: u32,
        size: u32,
    ) -> Result<(), String> {
        let quads = NORM_ELEMENTS / 4;
        for local_index in 0..size {
            let invocation = workgroup * size + local_index;
            let (start, length, first, apart) = if let Some((begin, _)) = dispatch.tiles {
                let record = invocation >> 2;
                if record >= dispatch.frame.length {
                    continue;
                }
                let Tile { grad, length_hyper, .. } = plan.tiles[begin as usize + record as usize];
                let (own, length) = (invocation & 3, length_hyper & 0xffff);
                (grad, length, own, 4)
            } else {
                let (grad, length) = (dispatch.frame.grad, dispatch.frame.length);
                if u64::from(4 * workgroup) * u64::from(quads * size) >= u64::from(length) {
                    continue;
                }
                (grad, length, workgroup * quads * size + local_index, size)
            };
            if !self.partials.insert(first_partial + invocation) {
                return Err(format!("partial result {} is written twice", first_partial + invocation));
            }
            let binding = dispatch.grad.unwrap_or(dispatch.param);
            for quad in (0..quads).map(|k| first + k * apart) {
                for element in (4 * quad..4 * quad + 4).filter(|element| *element < length) {
                    let place = u64::from(start + element);
                    if (place + 1) * 4 > binding.size {
                        return Err(format!("{place} is outside {binding:?}"));
                    }
                    *self.elements.entry((binding.buffer, binding.offset / 4 + place)).or_default() += 1;
                }
            }
        }
        Ok(())
    }

    fn check(mut self, input: &Input, first: u32, count: u32) -> Result<(), String> {
        if let Some(missing) = (first..first + count).find(|partial| !self.partials.remove(partial)) {
            return Err(format!("partial result {missing} is never written"));
        }
        if let Some(partial) = self.partials.iter().next() {
            return Err(format!("partial result {partial} is beyond {count} from {first} on"));
        }
        for work in &input.work {
            for element in 0..work.length {
                let place = (work.grad.buffer, work.grad.start + element);
                let times = self.elements.remove(&place).unwrap_or(0);
                if times != 1 {
                    return Err(format!("{place:?} of a gradient is measured {times} times"));
                }
            }
        }
        // The elements left may only be padding that stays zero.
        for work in &input.work {
            for element in work.length..work.length + work.padding {
                if input.classes[work.class as usize].padding_stays_zero {
                    self.elements.remove(&(work.grad.buffer, work.grad.start + element));
                }
            }
        }
        match self.elements.keys().next() {
            Some(place) => Err(format!("{place:?} is measured, and is no gradient's")),
            None => Ok(()),
        }
    }
}
