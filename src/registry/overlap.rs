//! The ranges of buffers that belong to tensors. No two tensors may share memory if one of them is written.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::error::tensor::TensorLabel;
use crate::planes::Format;

/// A range of elements in a numbered buffer that belongs to a tensor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub buffer: u32,
    pub start: u64,
    pub end: u64,
    pub tensor: u32,
}

/// The ranges of parameters and gradients. A parameter overlaps no other range. Gradients are only read and may overlap
/// each other. Empty ranges are left out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ranges(BTreeMap<Key, u64>);

/// Buffer, size class, start, tensor; the value is the end. Parameters have class 0. Gradients of class k are shorter
/// than 2^k, so that one that reaches into a range begins less than 2^k before it.
type Key = (u32, u32, u64, u32);

const PARAMS: u32 = 0;

/// Two ranges that share elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conflict {
    pub first: u32,
    pub second: u32,
    pub start: u64,
    pub end: u64,
}

impl Conflict {
    pub(crate) fn error(&self, first: TensorLabel, second: TensorLabel) -> Error {
        Error::Overlap {
            first,
            second,
            offset: Format::PARAM.bytes(self.start),
            bytes: Format::PARAM.bytes(self.end - self.start),
        }
    }
}

impl Ranges {
    /// Adds a parameter's range, if it overlaps no other parameter. A conflict names the other parameter first.
    pub(crate) fn insert_param(&mut self, range: &Range) -> Result<(), Conflict> {
        if let Some(other) = self.first_param(range) {
            return Err(conflict(&other, range));
        }
        self.insert(PARAMS, range);
        Ok(())
    }

    pub(crate) fn remove_param(&mut self, range: &Range) {
        self.0.remove(&key(PARAMS, range));
    }

    pub(crate) fn insert_grad(&mut self, range: &Range) {
        self.insert(class(range), range);
    }

    pub(crate) fn remove_grad(&mut self, range: &Range) {
        self.0.remove(&key(class(range), range));
    }

    /// Checks that a gradient overlaps no parameter. A conflict names the parameter first.
    pub(crate) fn check_grad(&self, range: &Range) -> Result<(), Conflict> {
        self.first_param(range).map_or(Ok(()), |param| Err(conflict(&param, range)))
    }

    /// Checks that a parameter overlaps no gradient. A conflict names the parameter first.
    pub(crate) fn check_param(&self, range: &Range) -> Result<(), Conflict> {
        let mut next_class = PARAMS + 1;
        // Visits only classes that occur in the buffer.
        while let Some((&(buffer, class, ..), _)) = self.0.range((range.buffer, next_class, 0, 0)..).next() {
            if buffer != range.buffer {
                break;
            }
            let from = range.start.saturating_sub(1_u64.checked_shl(class).unwrap_or(u64::MAX));
            if let Some(grad) = self.overlapping(class, from, range) {
                return Err(conflict(range, &grad));
            }
            next_class = class + 1;
        }
        Ok(())
    }

    fn insert(&mut self, class: u32, range: &Range) {
        if range.start < range.end {
            self.0.insert(key(class, range), range.end);
        }
    }

    /// Returns the first parameter that overlaps the range.
    fn first_param(&self, range: &Range) -> Option<Range> {
        // Parameters do not overlap each other: of those that begin before the range, only the last can reach into it.
        let before = self.0.range((range.buffer, PARAMS, 0, 0)..(range.buffer, PARAMS, range.start, 0)).next_back();
        let from = before.map_or(range.start, |((.., start, _), _)| *start);
        self.overlapping(PARAMS, from, range)
    }

    /// Returns the first range of a class that begins at `from` or later and overlaps this one.
    fn overlapping(&self, class: u32, from: u64, range: &Range) -> Option<Range> {
        if range.start >= range.end {
            return None;
        }
        let near = self.0.range((range.buffer, class, from, 0)..(range.buffer, class, range.end, 0));
        let (&(buffer, _, start, tensor), &end) = near.into_iter().find(|(_, end)| **end > range.start)?;
        Some(Range { buffer, start, end, tensor })
    }
}

fn key(class: u32, range: &Range) -> Key {
    (range.buffer, class, range.start, range.tensor)
}

/// The class of a gradient. Gradients of class k are shorter than 2^k.
fn class(range: &Range) -> u32 {
    1 + (range.end - range.start).checked_ilog2().unwrap_or(0)
}

fn conflict(first: &Range, second: &Range) -> Conflict {
    let (start, end) = (first.start.max(second.start), first.end.min(second.end));
    Conflict { first: first.tensor, second: second.tensor, start, end }
}

#[cfg(test)]
mod tests {
    use super::{Conflict, Range, Ranges};
    use proptest::prelude::*;

    fn overlap(a: &Range, b: &Range) -> bool {
        a.buffer == b.buffer && a.start.max(b.start) < a.end.min(b.end)
    }

    fn fits(found: Result<(), Conflict>, others: &[Range], range: &Range) -> Result<(), TestCaseError> {
        let meets: Vec<u32> = others.iter().filter(|other| overlap(other, range)).map(|other| other.tensor).collect();
        match found {
            Ok(()) => prop_assert!(meets.is_empty(), "{range:?} overlaps {meets:?}, and the index did not find it"),
            Err(conflict) => {
                let other = if conflict.first == range.tensor { conflict.second } else { conflict.first };
                prop_assert!(meets.contains(&other), "{conflict:?} for {range:?}, which overlaps {meets:?}");
            }
        }
        Ok(())
    }

    proptest! {
        /// The index agrees with a comparison of all pairs, while ranges are added and removed.
        #[test]
        fn as_one_by_one(changes in prop::collection::vec((0_u32..2, 0_u64..60, 0_u64..20, any::<bool>(), any::<bool>()), 1..60)) {
            let mut ranges = Ranges::default();
            let (mut params, mut grads): (Vec<Range>, Vec<Range>) = (Vec::new(), Vec::new());
            for (tensor, (buffer, start, length, is_param, removes)) in (0..).zip(changes) {
                let range = Range { buffer, start, end: start + length, tensor };
                match (is_param, removes) {
                    (true, true) if !params.is_empty() => {
                        let gone = params.remove(start as usize % params.len());
                        ranges.remove_param(&gone);
                    }
                    (false, true) if !grads.is_empty() => {
                        let gone = grads.remove(start as usize % grads.len());
                        ranges.remove_grad(&gone);
                    }
                    (true, _) => {
                        fits(ranges.check_param(&range), &grads, &range)?;
                        let found = ranges.insert_param(&range);
                        fits(found, &params, &range)?;
                        if found.is_ok() {
                            params.push(range);
                        }
                    }
                    (false, _) => {
                        fits(ranges.check_grad(&range), &params, &range)?;
                        ranges.insert_grad(&range);
                        grads.push(range);
                    }
                }
            }
        }
    }
}
