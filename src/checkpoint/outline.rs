//! Turns a header into a state dict without values. Checks every name, type, shape and step count.

use std::collections::{BTreeMap, BTreeSet};

use crate::checkpoint::data::Data;
use crate::checkpoint::dtype::Dtype;
use crate::checkpoint::groups::Groups;
use crate::checkpoint::header::{Header, Located};
use crate::checkpoint::names;
use crate::checkpoint::scaler::Scaler;
use crate::error::Error;
use crate::error::checkpoint::CheckpointError;
use crate::planes::{Plane, Planes};
use crate::state_dict::{MAX_STEP, StateDict, TensorState};

/// A file's state dict with empty moments, and the unknown contents of its metadata.
pub(crate) struct Outline {
    pub dict: StateDict,
    /// Unknown contents of the entry `optimizer`, as JSON.
    pub extra: BTreeMap<String, String>,
    /// Unknown contents of the entry `grad_scaler`, as JSON.
    pub grad_scaler_extra: BTreeMap<String, String>,
}

pub(crate) fn outline(data: &Data, header: &Header) -> Result<Outline, Error> {
    check_version(header)?;
    let missing = || no_optimizer(header);
    let Groups { groups, extra } = Groups::parse(header.metadata.get(names::OPTIMIZER).ok_or_else(missing)?)?;
    let mut dict = StateDict { param_groups: groups, ..Default::default() };
    for (number, group) in dict.param_groups.iter().enumerate() {
        group.config(number)?.validate(Some(number))?;
    }
    let mut grad_scaler_extra = BTreeMap::new();
    if let Some(text) = header.metadata.get(names::GRAD_SCALER) {
        let scaler = Scaler::parse(text)?;
        scaler.state.validate()?;
        dict.grad_scaler = Some(scaler.state);
        grad_scaler_extra = scaler.extra;
    }
    let by_id = names::by_id(&dict);
    check_strays(header, by_id.values())?;
    for group in &dict.param_groups {
        for id in &group.params {
            let Some(name) = by_id.get(id) else { continue };
            if let Some(entry) = entry(data, header, name, group.amsgrad == Some(true))? {
                dict.state.insert(*id, entry);
            }
        }
    }
    Ok(Outline { dict, extra, grad_scaler_extra })
}

/// The error for a file that holds nothing about an optimizer.
fn no_optimizer(header: &Header) -> CheckpointError {
    let mut others = header.tensors.keys().filter(|name| !names::is_state(name));
    match (header.tensors.keys().any(|name| names::is_state(name)), others.next()) {
        (true, _) => {
            let problem = "is missing, though there is state of an optimizer: whatever wrote the file anew has dropped its \
                           metadata; take the file that was there before";
            CheckpointError::metadata(names::OPTIMIZER, problem)
        }
        (false, None) => CheckpointError::metadata(names::OPTIMIZER, "is missing, and so are all tensors: it is empty"),
        (false, Some(first)) => CheckpointError::NoState { tensors: header.tensors.len(), first: first.clone() },
    }
}

fn check_version(header: &Header) -> Result<(), CheckpointError> {
    let Some(text) = header.metadata.get(names::VERSION) else { return Ok(()) };
    let wrong = |problem: String| Err(CheckpointError::metadata(names::VERSION, problem));
    match text.parse::<u32>() {
        Ok(version) if version == 0 || version > StateDict::VERSION => {
            wrong(format!("is {version}, and this crate reads up to {}; take a newer one", StateDict::VERSION))
        }
        Ok(_) => Ok(()),
        Err(_) => wrong(format!("is {text:?} and no number")),
    }
}

/// Checks that state belongs to a parameter of a group. State with keys that torch's Adam does not have belongs to
/// someone else, and is kept.
fn check_strays<'a>(header: &Header, params: impl Iterator<Item = &'a String>) -> Result<(), CheckpointError> {
    let mut known = BTreeSet::new();
    known.extend(params.map(String::as_str));
    for tensor in header.tensors.keys() {
        let Some((param, key)) = names::of_state(tensor) else { continue };
        if names::is_state_key(key) && !known.contains(param) {
            return Err(CheckpointError::tensor(tensor, "is state of a parameter that no group has"));
        }
    }
    Ok(())
}

/// Returns a parameter's entry; `None` if the file has no state of the parameter.
fn entry(data: &Data, header: &Header, param: &str, amsgrad: bool) -> Result<Option<TensorState>, CheckpointError> {
    let find = |key: &str| header.tensors.get_key_value(&names::state(param, key));
    let step = find(names::STEP);
    let moments: Vec<_> = Plane::ALL.into_iter().filter_map(|plane| Some((plane, find(plane.key())?))).collect();
    if step.is_none() && moments.is_empty() {
        return Ok(None);
    }
    let missing = |key: &str, reason| CheckpointError::Missing { name: names::state(param, key), reason };
    let step = step.ok_or_else(|| missing(names::STEP, "though it has moments of the parameter"))?;
    let step = step_count(data, step.0, step.1)?;
    let has = |plane: Plane| moments.iter().any(|(own, _)| *own == plane);
    if let Some(plane) = Planes::default().iter().find(|plane| !has(*plane)) {
        return Err(missing(plane.key(), "though it has other state of the parameter"));
    }
    if amsgrad && step > 0 && !has(Plane::MaxExpAvgSq) {
        return Err(missing(Plane::MaxExpAvgSq.key(), "and the parameter's group uses amsgrad"));
    }
    let shape = moments.first().map(|(_, (_, located))| located.shape.clone()).unwrap_or_default();
    for (_, (name, located)) in &moments {
        if located.dtype != Dtype::F32 {
            return Err(CheckpointError::tensor(name, format!("is {:?} instead of F32", located.dtype)));
        }
        if located.shape != shape {
            let problem = format!("has the shape {:?}, and exp_avg {shape:?}", located.shape);
            return Err(CheckpointError::tensor(name, problem));
        }
    }
    if let Some((name, located)) = header.tensors.get_key_value(&names::model(param)).filter(|(_, l)| l.shape != shape)
    {
        let problem = format!("has the shape {:?}, and its exp_avg {shape:?}", located.shape);
        return Err(CheckpointError::tensor(name, problem));
    }
    Ok(Some(TensorState::new(step, shape, Planes::new(has(Plane::MaxExpAvgSq)))))
}

/// Reads a step count: a scalar, in F32 as torch writes it, or in a type that holds more.
fn step_count(data: &Data, name: &str, located: &Located) -> Result<u64, CheckpointError> {
    let wrong = |problem: String| CheckpointError::tensor(name, problem);
    if !(located.shape.is_empty() || located.shape == [1]) {
        return Err(wrong(format!("has the shape {:?}; a step count is one number", located.shape)));
    }
    let whole = |value: f64| value.fract() == 0.0 && (0.0..=MAX_STEP as f64).contains(&value);
    let (step, shown) = match located.dtype {
        Dtype::F32 => {
            let value = f64::from(f32::from_le_bytes(word(data, located)?));
            (whole(value).then_some(value as u64), value.to_string())
        }
        Dtype::F64 => {
            let value = f64::from_le_bytes(word(data, located)?);
            (whole(value).then_some(value as u64), value.to_string())
        }
        Dtype::I64 => {
            let value = i64::from_le_bytes(word(data, located)?);
            (u64::try_from(value).ok(), value.to_string())
        }
        Dtype::U64 => {
            let value = u64::from_le_bytes(word(data, located)?);
            (Some(value), value.to_string())
        }
        other => return Err(wrong(format!("is {other:?}; a step count is F32, F64, I64 or U64"))),
    };
    let step = step.filter(|step| *step <= MAX_STEP);
    step.ok_or_else(|| wrong(format!("is {shown}; a step count is a whole number from 0 to 2^53")))
}

fn word<const N: usize>(data: &Data, located: &Located) -> Result<[u8; N], CheckpointError> {
    let mut bytes = [0; N];
    data.read(located.begin, &mut bytes)?;
    Ok(bytes)
}
