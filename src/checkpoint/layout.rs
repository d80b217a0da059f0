//! What a file will hold and where, decided before its first byte is written. Refuses what loading would refuse.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;

use safetensors::tensor::TensorInfo;
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::checkpoint::body::{Body, Fed, Segment};
use crate::checkpoint::contents::CheckpointContents;
use crate::checkpoint::data::Data;
use crate::checkpoint::dtype::Dtype;
use crate::checkpoint::groups::Groups;
use crate::checkpoint::map::map_of;
use crate::checkpoint::{header, names, scaler};
use crate::error::Error;
use crate::error::checkpoint::CheckpointError;
use crate::error::state_dict::StateDictError;
use crate::options::grad_scaler::GradScalerState;
use crate::planes::Plane;
use crate::sort::sort_by;
use crate::state_dict::spoiled::Scan;
use crate::state_dict::{MAX_STEP, StateDict, TensorState};

/// What is given to [`Body::feed`]: a plane of a parameter's state, or the parameter's values if there is no plane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Part {
    pub id: u64,
    pub plane: Option<Plane>,
}

/// A tensor that will be written.
#[derive(Debug)]
struct Tensor {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    size: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Bytes(Vec<u8>),
    /// In another checkpoint, from this byte on.
    Kept(Data, u64),
    Fed(Part),
}

/// A file's tensors in order, and its metadata.
#[derive(Debug)]
pub(crate) struct Layout {
    tensors: Vec<Tensor>,
    metadata: BTreeMap<String, String>,
    /// Step counts by id.
    steps: BTreeMap<u64, u64>,
    /// Unknown contents of the loss scale's entry, from a checkpoint that is kept.
    grad_scaler_extra: BTreeMap<String, String>,
    /// Whether parameters have names, and whether spoiled state is written too.
    named: bool,
    allow_nonfinite: bool,
}

/// The data begins at a multiple of this many bytes.
const ALIGNMENT: usize = 8;
/// The error for what callers can neither give nor replace.
const OWN: &str = "is the optimizer's own and cannot be given";

impl Layout {
    /// Lays out a state dict, whose moments may be empty. `shapes` are the shapes of all parameters by id, if their
    /// values are available.
    pub(crate) fn new(
        dict: &StateDict,
        contents: &CheckpointContents,
        shapes: Option<&BTreeMap<u64, Vec<usize>>>,
    ) -> Result<Self, Error> {
        dict.check_version()?;
        if let Some(key) = names::ENTRIES.into_iter().find(|key| contents.metadata.contains_key(*key)) {
            return Err(CheckpointError::metadata(key, OWN).into());
        }
        let by_id = names::by_id(dict);
        check_groups(dict, &by_id)?;
        let mut tensors = Vec::new();
        for (&id, entry) in &dict.state {
            let name = by_id
                .get(&id)
                .ok_or(Error::StateDict(StateDictError::Id { id, problem: "none of its groups lists" }))?;
            tensors.push(step(name, entry.step)?);
            for (plane, moment) in entry.moments() {
                let tensor = fed(names::state(name, plane.key()), &entry.shape, Part { id, plane: Some(plane) })?;
                if shapes.is_none() && plane.format().bytes(moment.len() as u64) != tensor.size {
                    let problem = format!("has {} elements, which the shape {:?} has not", moment.len(), entry.shape);
                    return Err(CheckpointError::tensor(&tensor.name, problem).into());
                }
                tensors.push(tensor);
            }
        }
        if contents.params {
            let unknown = CheckpointError::header(
                "a state dict has no values of parameters to write; ask for CheckpointContents::optimizer_only",
            );
            for (&id, shape) in shapes.ok_or(unknown)? {
                let name = by_id.get(&id).map_or("", String::as_str);
                tensors.push(fed(names::model(name), shape, Part { id, plane: None })?);
            }
        }
        let extra = contents.kept.as_ref().map(|kept| kept.extra.clone()).unwrap_or_default();
        let optimizer = Groups { groups: dict.param_groups.clone(), extra }.to_json()?;
        let grad_scaler_extra = contents.kept.as_ref().map(|kept| kept.grad_scaler_extra.clone()).unwrap_or_default();
        let steps = map_of(dict.state.iter().map(|(id, entry)| (*id, entry.step)));
        let named = dict.param_groups.iter().any(|group| group.param_names.is_some());
        let (metadata, allow_nonfinite) = (contents.metadata.clone(), contents.allow_nonfinite);
        let mut layout = Self { tensors, metadata, steps, grad_scaler_extra, named, allow_nonfinite };
        let mut known: BTreeMap<String, &[usize]> = BTreeMap::new();
        for (id, name) in &by_id {
            let shape = shapes.and_then(|shapes| shapes.get(id)).or_else(|| Some(&dict.state.get(id)?.shape));
            known.extend(shape.map(|shape| (names::model(name), shape.as_slice())));
        }
        layout.add_given(contents, &known)?;
        layout.add_kept(contents, &by_id);
        layout.set_grad_scaler(dict.grad_scaler.as_ref())?;
        layout.metadata.insert(names::OPTIMIZER.into(), optimizer);
        layout.metadata.insert(names::VERSION.into(), StateDict::VERSION.to_string());
        // The order of the format's own crate: the widest types first, so that all tensors are aligned, then by name.
        sort_by(&mut layout.tensors, |a, b| b.dtype.cmp(&a.dtype).then_with(|| a.name.cmp(&b.name)));
        Ok(layout)
    }

    /// Adds the caller's tensors. `known` holds the shapes of parameters, by the names of their values.
    fn add_given(
        &mut self,
        contents: &CheckpointContents,
        known: &BTreeMap<String, &[usize]>,
    ) -> Result<(), CheckpointError> {
        let own = self.names();
        for (name, tensor) in &contents.tensors {
            let wrong = |problem: String| Err(CheckpointError::tensor(name, problem));
            if names::is_state(name) || own.contains(name) {
                return wrong(OWN.into());
            }
            if name == header::METADATA {
                return wrong("would have the name of the format's own metadata; give it another".into());
            }
            let (dtype, shape, bytes) = (tensor.dtype(), tensor.shape().to_vec(), tensor.bytes().to_vec());
            if let Some(known) = known.get(name).filter(|known| **known != shape) {
                return wrong(format!("has the shape {shape:?}, and the parameter {known:?}"));
            }
            let (name, size, content) = (name.clone(), bytes.len() as u64, Content::Bytes(bytes));
            self.tensors.push(Tensor { name, dtype, shape, size, content });
        }
        Ok(())
    }

    /// Adds what is kept from another checkpoint.
    fn add_kept(&mut self, contents: &CheckpointContents, by_id: &BTreeMap<u64, String>) {
        let Some(kept) = &contents.kept else { return };
        let taken = self.names();
        // Parameters' values are only ever written with the state to which they belong.
        let own: HashSet<String> = by_id.values().map(|name| names::model(name)).collect();
        for (name, located) in &kept.header.tensors {
            if names::is_state(name) || own.contains(name) || taken.contains(name) {
                continue;
            }
            let (dtype, shape, size) = (located.dtype, located.shape.clone(), located.size);
            let content = Content::Kept(kept.data.clone(), located.begin);
            self.tensors.push(Tensor { name: name.clone(), dtype, shape, size, content });
        }
        for (key, value) in kept.header.metadata.iter().filter(|(key, _)| *key != names::GRAD_SCALER) {
            self.metadata.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }

    fn names(&self) -> HashSet<String> {
        self.tensors.iter().map(|tensor| tensor.name.clone()).collect()
    }

    /// Replaces the step counts. None may be larger than before, because their types stay the same.
    pub(crate) fn set_steps(&mut self, dict: &StateDict) {
        let by_id = names::by_id(dict);
        self.steps = map_of(dict.state.iter().map(|(id, entry)| (*id, entry.step)));
        let steps =
            dict.state.iter().filter_map(|(id, entry)| Some((names::state(by_id.get(id)?, names::STEP), entry.step)));
        let steps = map_of(steps);
        for tensor in &mut self.tensors {
            if let Some(&step) = steps.get(&tensor.name) {
                tensor.content = Content::Bytes(step_bytes(tensor.dtype, step));
            }
        }
    }

    /// Replaces or removes the loss scale.
    pub(crate) fn set_grad_scaler(&mut self, state: Option<&GradScalerState>) -> Result<(), Error> {
        self.metadata.remove(names::GRAD_SCALER);
        if let Some(state) = state {
            state.validate()?;
            self.metadata.insert(names::GRAD_SCALER.into(), scaler::to_json(state, &self.grad_scaler_extra)?);
        }
        Ok(())
    }

    /// The parts to be fed, in the order of the file.
    pub(crate) fn parts(&self) -> Vec<Part> {
        self.tensors.iter().filter_map(|t| if let Content::Fed(part) = t.content { Some(part) } else { None }).collect()
    }

    /// Writes the header, and returns what writes the tensors behind it. `path` is used in messages.
    pub(crate) fn begin<W: Write>(self, mut writer: W, path: &str) -> Result<Body<W>, CheckpointError> {
        let mut header = serde_json::to_vec(&self).map_err(|error| CheckpointError::header(error.to_string()))?;
        // Spaces align the data.
        header.resize(header.len().next_multiple_of(ALIGNMENT), b' ');
        if header.len() as u64 > header::MAX_HEADER {
            return Err(CheckpointError::header(format!("a header of {} bytes is too long", header.len())));
        }
        let length = (header.len() as u64).to_le_bytes();
        let written = writer.write_all(&length).and_then(|()| writer.write_all(&header));
        written.map_err(|error| CheckpointError::io("writing", path, &error))?;
        let Self { tensors, steps, named, allow_nonfinite, .. } = self;
        let segment = |Tensor { name, size, content, .. }| match content {
            Content::Bytes(bytes) => Segment::Bytes(bytes),
            Content::Kept(data, begin) => Segment::Kept(data, begin, size),
            Content::Fed(Part { id, plane }) => {
                let scan = plane.map(|plane| Scan::new(plane, steps.get(&id).copied().unwrap_or_default()));
                Segment::Fed(Fed { name, named, scan, allow_nonfinite, done: 0, size })
            }
        };
        Ok(Body::new(writer, path, tensors.into_iter().map(segment)))
    }
}

/// Checks that loading would take the options of the groups, and finds what they ask for.
fn check_groups(dict: &StateDict, by_id: &BTreeMap<u64, String>) -> Result<(), Error> {
    for (number, group) in dict.param_groups.iter().enumerate() {
        let config = group.config(number)?;
        config.validate(Some(number))?;
        for id in group.params.iter().filter(|_| config.amsgrad) {
            check_maximum(by_id.get(id), dict.state.get(id))?;
        }
    }
    Ok(())
}

fn fed(name: String, shape: &[usize], part: Part) -> Result<Tensor, CheckpointError> {
    let Some(size) = header::size(Dtype::F32, shape) else {
        return Err(CheckpointError::tensor(
            &name,
            format!("has the shape {}, which is too large", header::shown(shape)),
        ));
    };
    Ok(Tensor { name, dtype: Dtype::F32, shape: shape.to_vec(), size, content: Content::Fed(part) })
}

/// A step count, in a type that also holds all smaller counts: F32 as in torch, as far as F32 counts exactly.
fn step(param: &str, step: u64) -> Result<Tensor, CheckpointError> {
    let name = names::state(param, names::STEP);
    if step > MAX_STEP {
        return Err(CheckpointError::tensor(&name, format!("is {step}; a step count is at most 2^53")));
    }
    let dtype = if step <= 1 << 24 { Dtype::F32 } else { Dtype::F64 };
    let bytes = step_bytes(dtype, step);
    Ok(Tensor { name, dtype, shape: Vec::new(), size: bytes.len() as u64, content: Content::Bytes(bytes) })
}

fn step_bytes(dtype: Dtype, step: u64) -> Vec<u8> {
    if dtype == Dtype::F32 { (step as f32).to_le_bytes().to_vec() } else { (step as f64).to_le_bytes().to_vec() }
}

/// Checks that a parameter of a group with amsgrad has the maximum that loading requires.
fn check_maximum(name: Option<&String>, entry: Option<&TensorState>) -> Result<(), CheckpointError> {
    let is_missing = entry.is_some_and(|entry| entry.step > 0 && entry.max_exp_avg_sq.is_none());
    let Some(name) = name.filter(|_| is_missing) else { return Ok(()) };
    let name = names::state(name, Plane::MaxExpAvgSq.key());
    Err(CheckpointError::Missing { name, reason: "and the parameter's group uses amsgrad" })
}

impl Serialize for Layout {
    /// Writes the JSON of the header.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(header::METADATA, &self.metadata)?;
        let mut end = 0_usize;
        for tensor in &self.tensors {
            let begin = end;
            end += tensor.size as usize;
            let info =
                TensorInfo { dtype: tensor.dtype.format(), shape: tensor.shape.clone(), data_offsets: (begin, end) };
            map.serialize_entry(&tensor.name, &info)?;
        }
        map.end()
    }
}
