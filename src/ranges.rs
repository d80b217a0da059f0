//! Which ranges of which buffers are written: so that no two tensors share memory unseen.

use std::collections::HashMap;

use crate::Error;

/// Elements of a numbered buffer that belong to a tensor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub buffer: u32,
    pub start: u64,
    pub end: u64,
    pub tensor: u32,
}

/// The parameters' ranges, by buffer, in order. None overlaps another.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ranges(HashMap<u32, Vec<Range>>);

/// Two ranges that share elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conflict {
    pub first: u32,
    pub second: u32,
    pub start: u64,
    pub end: u64,
}

impl Conflict {
    fn of(first: &Range, second: &Range) -> Option<Self> {
        let (start, end) = (first.start.max(second.start), first.end.min(second.end));
        (start < end).then_some(Self { first: first.tensor, second: second.tensor, start, end })
    }

    pub(crate) fn error(&self, first: String, second: String) -> Error {
        Error::Overlap { first, second, offset: self.start * 4, bytes: (self.end - self.start) * 4 }
    }
}

impl Ranges {
    /// Sorts the ranges; the error is the first pair found to overlap.
    pub(crate) fn new(ranges: impl IntoIterator<Item = Range>) -> Result<Self, Conflict> {
        let mut by_buffer: HashMap<u32, Vec<Range>> = HashMap::new();
        for range in ranges.into_iter().filter(|range| range.start < range.end) {
            by_buffer.entry(range.buffer).or_default().push(range);
        }
        for ranges in by_buffer.values_mut() {
            ranges.sort_by_key(|range| (range.start, range.tensor));
            let pairs = ranges.iter().zip(ranges.iter().skip(1));
            if let Some(conflict) = pairs.filter_map(|(a, b)| Conflict::of(a, b)).next() {
                return Err(conflict);
            }
        }
        Ok(Self(by_buffer))
    }

    /// Whether a range that is only read, a gradient's, keeps clear of all of these.
    pub(crate) fn check(&self, range: &Range) -> Result<(), Conflict> {
        let ranges = self.0.get(&range.buffer).map_or(&[][..], Vec::as_slice);
        let from = ranges.partition_point(|parameter| parameter.end <= range.start);
        match ranges.get(from).and_then(|parameter| Conflict::of(parameter, range)) {
            Some(conflict) => Err(conflict),
            None => Ok(()),
        }
    }
}
