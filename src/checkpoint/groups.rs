//! The metadata entry `optimizer`: groups and names as JSON.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::value::RawValue;

use crate::checkpoint::entries::{Raw, json, object, optional, raw, required, texts};
use crate::checkpoint::names;
use crate::error::checkpoint::CheckpointError;
use crate::options::entries::{Entries, Entry, Value};
use crate::state_dict::StateGroup;

/// The contents of the entry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Groups {
    pub groups: Vec<StateGroup>,
    /// Other entries, as JSON.
    pub extra: BTreeMap<String, String>,
}

impl Groups {
    pub(crate) fn parse(text: &str) -> Result<Self, CheckpointError> {
        let mut raw: Raw = object(names::OPTIMIZER, text)?;
        let groups: Vec<Box<RawValue>> = required(&mut raw, names::OPTIMIZER, "param_groups")?;
        let all_names: Option<Vec<String>> = optional(&mut raw, names::OPTIMIZER, "param_names")?;
        let groups = groups.iter().enumerate().map(|(number, text)| group(number, text.get()));
        let mut groups = groups.collect::<Result<Vec<_>, _>>()?;
        check_ids(&groups)?;
        if let Some(all_names) = &all_names {
            assign_names(&mut groups, all_names)?;
        }
        check_names(&groups)?;
        Ok(Self { groups, extra: texts(raw) })
    }

    pub(crate) fn to_json(&self) -> Result<String, CheckpointError> {
        check_ids(&self.groups)?;
        check_names(&self.groups)?;
        let groups: Vec<Raw> = self.groups.iter().map(group_to_raw).collect::<Result<_, _>>()?;
        let mut entries = raw(names::OPTIMIZER, &self.extra)?;
        entries.insert("param_groups".into(), json(&groups)?);
        let mut by_id: BTreeMap<u64, &String> = BTreeMap::new();
        for group in &self.groups {
            by_id.extend(group.params.iter().copied().zip(group.param_names.iter().flatten()));
        }
        if !by_id.keys().copied().eq(0..by_id.len() as u64) {
            let problem = "are listed by id, and the ids are not counted from 0";
            return Err(CheckpointError::metadata("optimizer.param_names", problem));
        }
        let all_names: Vec<&String> = by_id.into_values().collect();
        if !all_names.is_empty() {
            entries.insert("param_names".into(), json(&all_names)?);
        }
        serde_json::to_string(&entries).map_err(|error| CheckpointError::metadata(names::OPTIMIZER, error.to_string()))
    }
}

const PARAMS: &str = "params";
const PARAM_NAMES: &str = "param_names";

/// Whether each of a group's parameters has a name.
fn named(group: &StateGroup) -> bool {
    group.params.is_empty() || group.param_names.is_some()
}

fn group(number: usize, text: &str) -> Result<StateGroup, CheckpointError> {
    let place = format!("optimizer.param_groups[{number}]");
    let mut raw: Raw = object(&place, text)?;
    let mut options = Entries::default();
    for entry in options.each() {
        match entry {
            Entry::Number(key, value) => *value = optional(&mut raw, &place, key)?,
            Entry::Pair(key, value) => *value = optional(&mut raw, &place, key)?,
            Entry::Flag(key, value) => *value = optional(&mut raw, &place, key)?,
        }
    }
    Ok(StateGroup {
        params: required(&mut raw, &place, PARAMS)?,
        param_names: optional(&mut raw, &place, PARAM_NAMES)?,
        extra: texts(raw),
        ..StateGroup::with_options(options)
    })
}

fn group_to_raw(group: &StateGroup) -> Result<Raw, CheckpointError> {
    let place = "optimizer.param_groups";
    let mut options = group.options();
    let options = options.each();
    let own = options.iter().map(Entry::key).chain([PARAMS, PARAM_NAMES]);
    if let Some(key) = own.into_iter().find(|key| group.extra.contains_key(*key)) {
        return Err(CheckpointError::metadata(format!("{place}.{key}"), "has a place of its own and cannot be extra"));
    }
    let mut entries = raw(place, &group.extra)?;
    for (key, value) in options.iter().filter_map(|entry| Some((entry.key(), entry.value()?))) {
        let value = match value {
            Value::Number(value) => json(&value)?,
            Value::Pair(value) => json(&value)?,
            Value::Flag(value) => json(&value)?,
        };
        entries.insert(key.into(), value);
    }
    entries.insert(PARAMS.into(), json(&group.params)?);
    Ok(entries)
}

/// Checks that each id occurs once.
fn check_ids(groups: &[StateGroup]) -> Result<(), CheckpointError> {
    let mut ids = BTreeSet::new();
    for (number, group) in groups.iter().enumerate() {
        if let Some(id) = group.params.iter().find(|id| !ids.insert(**id)) {
            let place = format!("optimizer.param_groups[{number}].params");
            return Err(CheckpointError::metadata(place, format!("has the id {id}, which was there before")));
        }
    }
    Ok(())
}

/// Gives groups the names of their parameters. `all_names` lists them by packed id.
fn assign_names(groups: &mut [StateGroup], all_names: &[String]) -> Result<(), CheckpointError> {
    let wrong = |problem| Err(CheckpointError::metadata("optimizer.param_names", problem));
    let params: usize = groups.iter().map(|group| group.params.len()).sum();
    if all_names.len() != params {
        return wrong(format!("has {} names for {params} parameters", all_names.len()));
    }
    for group in groups {
        let mut own = Vec::with_capacity(group.params.len());
        for &id in &group.params {
            let Some(name) = usize::try_from(id).ok().and_then(|id| all_names.get(id)) else {
                return wrong(format!("has no name for id {id}: ids are to be counted from 0"));
            };
            own.push(name.clone());
        }
        if group.param_names.as_ref().is_some_and(|names| *names != own) {
            return wrong("are others than those of a group".into());
        }
        group.param_names = (!own.is_empty()).then_some(own);
    }
    Ok(())
}

/// Checks that either all parameters have names, all different, or none has one.
fn check_names(groups: &[StateGroup]) -> Result<(), CheckpointError> {
    let mut seen = BTreeSet::new();
    for (number, group) in groups.iter().enumerate() {
        let place = format!("optimizer.param_groups[{number}].param_names");
        let Some(names) = &group.param_names else { continue };
        if names.len() != group.params.len() {
            let problem = format!("has {} names for {} parameters", names.len(), group.params.len());
            return Err(CheckpointError::metadata(place, problem));
        }
        for name in names {
            if !seen.insert(name.as_str()) {
                return Err(CheckpointError::metadata(
                    place,
                    format!("has the name \"{name}\", which was there before"),
                ));
            }
        }
    }
    if !seen.is_empty() && !groups.iter().all(named) {
        return Err(CheckpointError::metadata(names::OPTIMIZER, "names some parameters and not all"));
    }
    Ok(())
}
