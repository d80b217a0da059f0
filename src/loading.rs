//! `load_state_dict`: everything checked, new state made and filled, then all taken over at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::Error;
use crate::config::AdamConfig;
use crate::optimizer::WgpuAdam;
use crate::registry::{Registry, Tensor};
use crate::state_dict::{StateDict, StateGroup, TensorState};

impl WgpuAdam {
    /// Takes over a state dict's options, step counts and moments, as torch's `load_state_dict`.
    ///
    /// Groups and the parameters in them match by position. Where both sides name all parameters, and by the same names,
    /// parameters match by name instead, which torch does not do; options still match by the position of the group.
    /// Names that have nothing in common match by position, and stay; torch takes the dict's.
    /// Saved options win; a group added later has the constructor's defaults. The whole state is replaced: a parameter
    /// without an entry starts anew. Names of an optimizer that has none are taken from the dict. Stricter than torch:
    /// shapes must agree, options must be in range, moments finite, `exp_avg_sq` not negative, and all moments zero at
    /// step 0.
    ///
    /// State is loaded into new buffers, so steps recorded before are not disturbed; they act on the state that is given
    /// up. Needs twice the state's memory meanwhile.
    ///
    /// # Errors
    /// A dict that does not fit; no memory; a lost device. Nothing has changed then.
    pub fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), Error> {
        let mut draft = self.registry.clone();
        check_groups(&draft, dict)?;
        for (number, (group, saved)) in draft.groups.iter_mut().zip(&dict.param_groups).enumerate() {
            group.config = saved.config(number)?;
            group.config.validate(Some(number))?;
        }
        let matched = match_params(&draft, dict)?;
        let mut stateless = Vec::new();
        for &(param, id) in &matched {
            let entry = dict.state.get(&id);
            let Some(tensor) = draft.tensor_mut(param) else { continue };
            tensor.step = entry.map_or(0, |entry| entry.step);
            let group = tensor.group as usize;
            let amsgrad = draft.groups.get(group).is_some_and(|group| group.config.amsgrad);
            if let (Some(entry), Some(tensor)) = (entry, draft.tensor(param)) {
                entry.check(tensor, param, amsgrad)?;
            }
            stateless.push((param, amsgrad || entry.is_some_and(|entry| entry.max_exp_avg_sq.is_some())));
        }
        take_names(&mut draft, dict, &matched);
        draft.check_names()?;
        draft.add_state(&self.gpu, &self.limits, &stateless)?;
        let entries: HashMap<u32, &TensorState> =
            matched.iter().filter_map(|(param, id)| Some((*param, dict.state.get(id)?))).collect();
        self.gpu.guard.run("the state of a state dict", || self.fill(&draft, &entries))?;
        self.commit(draft)
    }

    /// Writes entries into the state that was made for them.
    fn fill(&self, draft: &Registry, entries: &HashMap<u32, &TensorState>) {
        for piece in &draft.pieces {
            let (Some(entry), Some(window)) = (entries.get(&piece.tensor), draft.window(piece.window)) else {
                continue;
            };
            let moments = [Some(&entry.exp_avg), Some(&entry.exp_avg_sq), entry.max_exp_avg_sq.as_ref()];
            for (plane, moment) in (0_u64..).zip(moments) {
                let range = piece.start as usize..(piece.start + piece.length) as usize;
                if let Some(part) = moment.and_then(|moment| moment.get(range)) {
                    let offset = (piece.moment + plane * window.layout.plane) * 4;
                    self.gpu.queue.write_buffer(&window.buffer, offset, bytemuck::cast_slice(part));
                }
            }
        }
    }
}

/// As many groups, of as many parameters, each id listed once, and no entry for an id that is not listed.
fn check_groups(registry: &Registry, dict: &StateDict) -> Result<(), Error> {
    let (saved, current) = (dict.param_groups.len(), registry.groups.len());
    if saved != current {
        return Err(Error::StateGroups { saved, current });
    }
    let mut ids = BTreeSet::new();
    for (number, (group, saved)) in registry.groups.iter().zip(&dict.param_groups).enumerate() {
        let (saved_params, current) = (saved.params.len(), group.params.len());
        if saved_params != current {
            return Err(Error::StateGroupSize { group: number, saved: saved_params, current });
        }
        let names = saved.param_names.as_ref().map_or(saved_params, Vec::len);
        if names != saved_params {
            return Err(Error::StateGroupNames { group: number, names, params: saved_params });
        }
        for &id in &saved.params {
            if !ids.insert(id) {
                return Err(Error::StateId { id, problem: "its groups list twice" });
            }
        }
    }
    match dict.state.keys().find(|id| !ids.contains(id)) {
        Some(&id) => Err(Error::StateId { id, problem: "none of its groups lists" }),
        None => Ok(()),
    }
}

/// Each parameter's number and the id of its entry.
fn match_params(registry: &Registry, dict: &StateDict) -> Result<Vec<(u32, u64)>, Error> {
    let params = registry.groups.iter().flat_map(|group| group.params.iter().map(|param| param.index));
    let ids = dict.param_groups.iter().flat_map(|group| group.params.iter().copied());
    let by_position: Vec<(u32, u64)> = params.zip(ids).collect();
    let names = dict.param_groups.iter().flat_map(|group| group.param_names.iter().flatten());
    let mut saved: BTreeMap<&str, u64> = BTreeMap::new();
    for (name, (_, id)) in names.zip(&by_position) {
        if saved.insert(name, *id).is_some() {
            return Err(Error::DuplicateName { name: name.clone() });
        }
    }
    let named = registry.tensors().filter_map(|(number, tensor)| Some((tensor.name.as_deref()?, number)));
    let current: BTreeMap<&str, u32> = named.collect();
    let all = by_position.len();
    if saved.len() != all || current.len() != all || saved.keys().all(|name| !current.contains_key(name)) {
        return Ok(by_position);
    }
    let only = |a: Vec<&str>, is_in: &dyn Fn(&str) -> bool| {
        a.into_iter().filter(|name| !is_in(name)).map(str::to_owned).collect::<Vec<_>>()
    };
    let only_saved = only(saved.keys().copied().collect(), &|name| current.contains_key(name));
    let only_current = only(current.keys().copied().collect(), &|name| saved.contains_key(name));
    if !only_saved.is_empty() {
        return Err(Error::StateNames { only_saved, only_current });
    }
    Ok(current.into_iter().filter_map(|(name, number)| Some((number, *saved.get(name)?))).collect())
}

/// An optimizer without names takes those of the dict, if that names all.
fn take_names(draft: &mut Registry, dict: &StateDict, matched: &[(u32, u64)]) {
    let pairs = dict.param_groups.iter().flat_map(|group| {
        let names = group.param_names.iter().flatten();
        group.params.iter().copied().zip(names)
    });
    let names: HashMap<u64, &String> = pairs.collect();
    if names.len() == matched.len() && draft.tensors().all(|(_, tensor)| tensor.name.is_none()) {
        for (param, id) in matched {
            if let Some(tensor) = draft.tensor_mut(*param) {
                tensor.name = names.get(id).map(|name| (*name).clone());
            }
        }
    }
}

impl StateGroup {
    /// The options, those that older torch versions do not save being false.
    fn config(&self, group: usize) -> Result<AdamConfig, Error> {
        let missing = |option| Error::StateOption { group, option };
        Ok(AdamConfig {
            lr: self.lr.ok_or_else(|| missing("lr"))?,
            betas: self.betas.ok_or_else(|| missing("betas"))?,
            eps: self.eps.ok_or_else(|| missing("eps"))?,
            weight_decay: self.weight_decay.ok_or_else(|| missing("weight_decay"))?,
            amsgrad: self.amsgrad.unwrap_or(false),
            maximize: self.maximize.unwrap_or(false),
            decoupled_weight_decay: self.decoupled_weight_decay.unwrap_or(false),
        })
    }
}

impl TensorState {
    /// Whether the entry fits the tensor.
    fn check(&self, tensor: &Tensor, number: u32, amsgrad: bool) -> Result<(), Error> {
        let wrong = |key, problem| Err(Error::StateEntry { tensor: tensor.describe(number), key, problem });
        if self.shape != tensor.shape {
            return wrong("shape", format!("is {:?} instead of {:?}", self.shape, tensor.shape));
        }
        let max_exp_avg_sq = self.max_exp_avg_sq.as_ref();
        if amsgrad && self.step > 0 && max_exp_avg_sq.is_none() {
            return wrong("max_exp_avg_sq", "is missing, and the group uses amsgrad".into());
        }
        let moments = [
            ("exp_avg", Some(&self.exp_avg), f32::NEG_INFINITY),
            ("exp_avg_sq", Some(&self.exp_avg_sq), 0.0),
            ("max_exp_avg_sq", max_exp_avg_sq, 0.0),
        ];
        for (key, moment, least) in moments {
            let Some(moment) = moment else { continue };
            if moment.len() as u64 != tensor.length {
                return wrong(key, format!("has {} elements instead of {}", moment.len(), tensor.length));
            }
            if self.step == 0 && moment.iter().any(|value| *value != 0.0) {
                return wrong("step", format!("is 0, but {key} is not zero"));
            }
            let bad = moment.iter().enumerate().find(|(_, value)| !value.is_finite() || **value < least);
            if let Some((element, value)) = bad {
                let what = if value.is_finite() { "is negative" } else { "is not finite" };
                return wrong(key, format!("{what} at element {element}: {value}"));
            }
        }
        Ok(())
    }
}
