//! Maps made from pairs.

use std::collections::BTreeMap;

/// Makes a map by inserting pairs one after another. `collect` would sort them, and the code of a sort for each type of
/// pair is a considerable part of what a page downloads.
pub(crate) fn map_of<K: Ord, V>(pairs: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    map.extend(pairs);
    map
}
