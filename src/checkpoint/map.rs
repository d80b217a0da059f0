//! Maps made of pairs.

use std::collections::BTreeMap;

/// A map of these, by inserting one after another. `collect` would sort them, and the code of a sort for each kind of pair
/// is a good part of what a page downloads.
pub(crate) fn map_of<K: Ord, V>(pairs: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    map.extend(pairs);
    map
}
