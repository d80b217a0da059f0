//! The input of a plan: the pieces that step, in classes with one hyper block each.

use std::collections::HashMap;

use super::Registry;
use crate::options::adam::AdamBits;
use crate::plan::{Class, Code, Input, Place, Work};

/// The input of a plan, and what recording its steps needs about its classes.
#[derive(Debug, Default)]
pub(crate) struct StepWork {
    pub input: Input,
    pub classes: Vec<ClassCount>,
    /// Pairs of a group and an earlier group with equal options. The two share classes as long as their options are
    /// equal.
    pub alike: Vec<(u32, u32)>,
}

/// A class of the plan: its group, the step count of its tensors, and its first tensor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClassCount {
    pub group: u32,
    pub step: u64,
    pub tensor: u32,
}

impl Registry {
    /// Returns the work of all tensors with gradients. `control` holds the code that gradient control selects for all
    /// groups.
    pub(crate) fn step_work(&self, control: Code) -> StepWork {
        let mut step_work = StepWork::default();
        let firsts = self.first_alike(&mut step_work.alike);
        // The classes of each group so far. They are few, so they are searched one by one, the latest first.
        let mut of_group: Vec<Vec<(u64, u32, u32)>> = vec![Vec::new(); self.groups.len()];
        for (piece, tensor) in self.pieces() {
            let Some(grad) = tensor.grad else { continue };
            let number = firsts.get(tensor.group as usize).copied().unwrap_or(tensor.group);
            let (Some(group), Some(known)) = (self.groups.get(number as usize), of_group.get_mut(number as usize))
            else {
                continue;
            };
            let same = |(step, history, _): &&(u64, u32, u32)| (*step, *history) == (tensor.step, tensor.history);
            let class = match known.iter().rev().find(same) {
                Some(&(.., class)) => class,
                None => {
                    let class = step_work.classes.len() as u32;
                    known.push((tensor.step, tensor.history, class));
                    step_work.classes.push(ClassCount { group: number, step: tensor.step, tensor: piece.tensor });
                    step_work.input.classes.push(Class {
                        group: number,
                        code: control.with_options(&group.config),
                        padding_stays_zero: group.config.eps > 0.0,
                    });
                    class
                }
            };
            let is_end = piece.start + piece.length == tensor.length;
            step_work.input.work.push(Work {
                tensor: piece.tensor,
                class,
                param: Place { start: piece.param, ..tensor.param.place },
                grad: Place { start: grad.place.start + piece.start, ..grad.place },
                window: piece.window,
                moment: piece.moment,
                length: piece.length,
                padding: if is_end { piece.padding.min(grad.padding) } else { 0 },
            });
        }
        step_work
    }

    /// Returns for each group the first group with equal options. Adds to `alike` each later group, together with that
    /// first one.
    fn first_alike(&self, alike: &mut Vec<(u32, u32)>) -> Vec<u32> {
        let mut firsts: HashMap<AdamBits, u32> = HashMap::new();
        let first = |(number, group): (u32, &super::group::Group)| {
            let first = *firsts.entry(group.config.bits()).or_insert(number);
            if first != number {
                alike.push((number, first));
            }
            first
        };
        (0..).zip(&self.groups).map(first).collect()
    }
}
