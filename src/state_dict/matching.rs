//! Which entry of a state dict belongs to which parameter.

use std::collections::{BTreeMap, BTreeSet};

use super::StateDict;
use crate::error::Error;
use crate::error::state_dict::StateDictError;
use crate::registry::Registry;

/// How [`load_state_dict_with`](crate::WgpuAdam::load_state_dict_with) finds the entry of a parameter. Options of
/// groups always match by the position of the group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateMatching {
    /// By name if both the dict and the optimizer name all parameters. The names must be equal, or become equal when
    /// one common prefix that ends with a dot is removed, such as `module.` or `_orig_mod.`. Other names are an error
    /// that lists them. By position if one side has no names. Both sides must have equally many groups, with equally
    /// many parameters.
    #[default]
    Strict,
    /// By position, whatever the names, as torch does. The optimizer keeps its own names.
    ByPosition,
    /// By name, as far as the names agree, with a prefix as for `Strict`: for a model with a layer more or less.
    /// Entries whose names no parameter has are ignored. A parameter without an entry starts over at step 0. Groups may
    /// differ; a group that the dict lacks keeps its options.
    Partial,
}

/// Each parameter's number, and the id of its entry; `None` if the parameter starts over.
pub(crate) type Matched = Vec<(u32, Option<u64>)>;

/// Matches parameters with entries, if the groups of both sides fit.
pub(crate) fn match_params(registry: &Registry, dict: &StateDict, matching: StateMatching) -> Result<Matched, Error> {
    let ids = check_ids(dict)?;
    let params: Vec<u32> =
        registry.groups.iter().flat_map(|group| group.params().iter().map(|param| param.index)).collect();
    let saved = saved_names(dict, &ids)?;
    let (named, unnamed) = registry.named_and_unnamed();
    let by_name = saved.len() == ids.len() && unnamed == 0 && !saved.is_empty() && named > 0;
    let names = if by_name { Some(Names::new(registry, &saved)) } else { None };
    match (matching, names) {
        (StateMatching::Partial, Some(names)) => {
            let id = |number: u32| names.id_of(registry, number);
            Ok(params.into_iter().map(|number| (number, id(number))).collect())
        }
        (StateMatching::Partial, None) => Err(Error::StateDict(StateDictError::WithoutNames)),
        (StateMatching::Strict, Some(names)) => {
            names.check()?;
            check_sizes(registry, dict)?;
            let id = |number: u32| names.id_of(registry, number);
            Ok(params.into_iter().map(|number| (number, id(number))).collect())
        }
        _ => {
            check_sizes(registry, dict)?;
            Ok(params.into_iter().zip(ids.into_iter().map(Some)).collect())
        }
    }
}

/// Gives an optimizer without names the names of the dict, if the dict names all parameters.
pub(crate) fn take_names(registry: &mut Registry, dict: &StateDict, matched: &Matched) {
    let pairs = dict.param_groups.iter().flat_map(|group| {
        let names = group.param_names.iter().flatten();
        group.params.iter().copied().zip(names)
    });
    let mut names = BTreeMap::new();
    names.extend(pairs);
    let (named, _) = registry.named_and_unnamed();
    if named == 0 && names.len() == matched.len() {
        for (param, id) in matched {
            if let Some(name) = id.and_then(|id| names.get(&id)) {
                registry.set_name(*param, (*name).clone());
            }
        }
    }
}

/// Returns the dict's ids in order. Checks that each id is listed once, and that the id of each entry is listed.
fn check_ids(dict: &StateDict) -> Result<Vec<u64>, Error> {
    let mut all = Vec::new();
    let mut known = BTreeSet::new();
    for (group, saved) in dict.param_groups.iter().enumerate() {
        let params = saved.params.len();
        let names = saved.param_names.as_ref().map_or(params, Vec::len);
        if names != params {
            return Err(Error::StateDict(StateDictError::GroupNames { group, names, params }));
        }
        for &id in &saved.params {
            if !known.insert(id) {
                return Err(Error::StateDict(StateDictError::Id { id, problem: "its groups list twice" }));
            }
            all.push(id);
        }
    }
    match dict.state.keys().find(|id| !known.contains(id)) {
        Some(&id) => Err(Error::StateDict(StateDictError::Id { id, problem: "none of its groups lists" })),
        None => Ok(all),
    }
}

/// Checks that both sides have equally many groups, with equally many parameters.
fn check_sizes(registry: &Registry, dict: &StateDict) -> Result<(), Error> {
    let (saved, current) = (dict.param_groups.len(), registry.groups.len());
    if saved != current {
        return Err(Error::StateDict(StateDictError::Groups { saved, current }));
    }
    for (group, (own, saved)) in registry.groups.iter().zip(&dict.param_groups).enumerate() {
        let (saved, current) = (saved.params.len(), own.len());
        if saved != current {
            return Err(Error::StateDict(StateDictError::GroupSize { group, saved, current }));
        }
    }
    Ok(())
}

/// Returns the ids by the names of their parameters.
fn saved_names<'a>(dict: &'a StateDict, ids: &[u64]) -> Result<BTreeMap<&'a str, u64>, Error> {
    let mut saved = BTreeMap::new();
    let names = dict.param_groups.iter().flat_map(|group| group.param_names.iter().flatten());
    for (name, id) in names.zip(ids) {
        if saved.insert(name.as_str(), *id).is_some() {
            return Err(Error::DuplicateName { name: name.clone() });
        }
    }
    Ok(saved)
}

/// The names of both sides, and the prefix that turns one side's names into the other's.
struct Names<'a> {
    saved: &'a BTreeMap<&'a str, u64>,
    current: BTreeSet<&'a str>,
    prefix: Prefix,
}

/// A prefix that only one side's names have.
enum Prefix {
    None,
    Saved(String),
    Current(String),
}

impl<'a> Names<'a> {
    fn new(registry: &'a Registry, saved: &'a BTreeMap<&'a str, u64>) -> Self {
        let mut current = BTreeSet::new();
        current.extend(registry.tensors().filter_map(|(_, tensor)| tensor.name.as_deref()));
        let mut names = Self { saved, current, prefix: Prefix::None };
        if !names.saved.keys().any(|name| names.current.contains(name)) {
            let saved = || names.saved.keys().copied();
            let current = || names.current.iter().copied();
            names.prefix = match (common_prefix(saved(), current()), common_prefix(current(), saved())) {
                (Some(prefix), _) => Prefix::Saved(prefix),
                (None, Some(prefix)) => Prefix::Current(prefix),
                (None, None) => Prefix::None,
            };
        }
        names
    }

    /// Returns the name by which the dict knows one of the optimizer's names.
    fn as_saved(&self, name: &str) -> Option<String> {
        match &self.prefix {
            Prefix::None => Some(name.to_owned()),
            Prefix::Saved(prefix) => Some(format!("{prefix}{name}")),
            Prefix::Current(prefix) => name.strip_prefix(prefix.as_str()).map(str::to_owned),
        }
    }

    fn id_of(&self, registry: &Registry, number: u32) -> Option<u64> {
        let name = registry.tensor(number)?.name.as_deref()?;
        self.saved.get(self.as_saved(name)?.as_str()).copied()
    }

    /// Checks that both sides have the same names.
    fn check(&self) -> Result<(), Error> {
        // Inserts them: `collect` would sort, and the code of a sort is a considerable part of what a page downloads.
        let mut only_saved = BTreeSet::new();
        only_saved.extend(self.saved.keys().copied());
        let mut only_current = Vec::new();
        for name in &self.current {
            if !self.as_saved(name).is_some_and(|name| only_saved.remove(name.as_str())) {
                only_current.push((*name).to_owned());
            }
        }
        if only_saved.is_empty() && only_current.is_empty() {
            return Ok(());
        }
        Err(Error::StateDict(StateDictError::Names {
            only_saved: only_saved.into_iter().map(str::to_owned).collect(),
            only_current,
        }))
    }
}

/// Returns a prefix of all names of one side. Without it, at least one of them is a name of the other side.
fn common_prefix<'a>(
    mut long: impl Iterator<Item = &'a str> + Clone,
    mut short: impl Iterator<Item = &'a str>,
) -> Option<String> {
    let first = long.clone().next()?;
    let prefix = short.find_map(|name| first.strip_suffix(name).filter(|prefix| prefix.ends_with('.')))?;
    long.all(|name| name.starts_with(prefix)).then(|| prefix.to_owned())
}
