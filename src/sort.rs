//! Sorting.

use std::cmp::Ordering;
use std::mem;

/// Sorts, and keeps equal items in their order. std's sort is compiled anew for each type, and adds about a kilobyte to a
/// page's download each time. This one always sorts numbers, which stand for the items.
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
