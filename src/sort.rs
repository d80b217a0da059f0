//! Sorting.

use std::cmp::Ordering;
use std::mem;

/// Sorts, and leaves what is equal in its order. std's sort is compiled for each type anew and is 4 KB of a page each time:
/// this one sorts numbers, whatever they are of.
pub(crate) fn sort_by<T>(items: &mut Vec<T>, order: impl Fn(&T, &T) -> Ordering) {
    let mut numbers: Vec<usize> = (0..items.len()).collect();
    sort_numbers(&mut numbers, &|a, b| match (items.get(a), items.get(b)) {
        (Some(a), Some(b)) => order(a, b),
        _ => Ordering::Equal,
    });
    let mut unsorted: Vec<Option<T>> = mem::take(items).into_iter().map(Some).collect();
    items.extend(numbers.into_iter().filter_map(|number| unsorted.get_mut(number)?.take()));
}

fn sort_numbers(numbers: &mut [usize], order: &dyn Fn(usize, usize) -> Ordering) {
    numbers.sort_by(|a, b| order(*a, *b));
}
