//! What a file will hold and where, decided before its first byte is written; and the writing, part by part.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io::Write;

use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::Error;
use crate::checkpoint::contents::CheckpointContents;
use crate::checkpoint::data::Data;
use crate::checkpoint::groups::Groups;
use crate::checkpoint::{CheckpointError, names, scaler};
use crate::gradient_control::GradScalerState;
use crate::state_dict::StateDict;
use crate::tensor::elements;

/// What is given to [`Body::feed`]: a moment of a parameter, or its values where there is no key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Part {
    pub id: u64,
    pub moment: Option<&'static str>,
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

/// A file's tensors in their order, and its metadata.
#[derive(Debug)]
pub(crate) struct Layout {
    tensors: Vec<Tensor>,
    metadata: BTreeMap<String, String>,
    /// What another checkpoint, which is kept, says of the loss scale beyond what is known.
    grad_scaler_extra: BTreeMap<String, String>,
}

/// Bytes of which the data's place is a multiple.
const ALIGNMENT: usize = 8;
/// The longest header that is read again.
const MAX_HEADER: usize = 100_000_000;

impl Layout {
    /// Lays out a state dict, whose moments may be empty. `shapes` are those of all parameters by id, if their values are
    /// at hand.
    pub(crate) fn new(
        dict: &StateDict,
        contents: &CheckpointContents,
        shapes: Option<&BTreeMap<u64, Vec<usize>>>,
    ) -> Result<Self, Error> {
        for (number, group) in dict.param_groups.iter().enumerate() {
            group.config(number)?.validate(Some(number))?;
        }
        if contents.metadata.contains_key(names::GRAD_SCALER) {
            let problem = "is the optimizer's own and cannot be given";
            return Err(CheckpointError::metadata(names::GRAD_SCALER, problem).into());
        }
        let by_id = names::by_id(dict);
        let mut tensors = Vec::new();
        for (&id, entry) in &dict.state {
            let name = by_id.get(&id).ok_or(Error::StateId { id, problem: "none of its groups lists" })?;
            tensors.push(step(name, entry.step));
            for (key, moment) in entry.moments() {
                let tensor = fed(names::state(name, key), &entry.shape, Part { id, moment: Some(key) })?;
                if shapes.is_none() && moment.len() as u64 * 4 != tensor.size {
                    let problem = format!("has {} elements, which the shape {:?} has not", moment.len(), entry.shape);
                    return Err(CheckpointError::tensor(&tensor.name, problem).into());
                }
                tensors.push(tensor);
            }
        }
        if contents.params {
            let unknown = CheckpointError::header("a state dict has no values of parameters to write");
            for (&id, shape) in shapes.ok_or(unknown)? {
                let name = by_id.get(&id).map_or("", String::as_str);
                tensors.push(fed(names::model(name), shape, Part { id, moment: None })?);
            }
        }
        let extra = contents.kept.as_ref().map(|kept| kept.extra.clone()).unwrap_or_default();
        let optimizer = Groups { groups: dict.param_groups.clone(), extra }.to_json()?;
        let grad_scaler_extra = contents.kept.as_ref().map(|kept| kept.grad_scaler_extra.clone()).unwrap_or_default();
        let mut layout = Self { tensors, metadata: contents.metadata.clone(), grad_scaler_extra };
        layout.add(contents, &by_id)?;
        layout.set_grad_scaler(dict.grad_scaler.as_ref())?;
        layout.metadata.insert(names::OPTIMIZER.into(), optimizer);
        layout.metadata.insert(names::VERSION.into(), StateDict::VERSION.to_string());
        // As the format's own crate: the widest first, so that all are aligned, then by name.
        layout.tensors.sort_by(|a, b| b.dtype.cmp(&a.dtype).then_with(|| a.name.cmp(&b.name)));
        Ok(layout)
    }

    /// Adds the caller's tensors and what is kept of another checkpoint.
    fn add(&mut self, contents: &CheckpointContents, by_id: &BTreeMap<u64, String>) -> Result<(), CheckpointError> {
        let mut taken: HashSet<String> = self.tensors.iter().map(|tensor| tensor.name.clone()).collect();
        for (name, tensor) in &contents.tensors {
            let state = names::of_state(name).is_some_and(|(_, key)| names::is_state_key(key));
            if state || !taken.insert(name.clone()) {
                return Err(CheckpointError::tensor(name, "is the optimizer's own and cannot be given"));
            }
            let (dtype, shape, bytes) = (tensor.dtype(), tensor.shape().to_vec(), tensor.bytes().to_vec());
            self.tensors.push(Tensor {
                name: name.clone(),
                dtype,
                shape,
                size: bytes.len() as u64,
                content: Content::Bytes(bytes),
            });
        }
        if let Some(kept) = &contents.kept {
            // Values of parameters are only ever written with the state they belong to.
            let own: HashSet<String> = by_id.values().map(|name| names::model(name)).collect();
            for (name, located) in &kept.header.tensors {
                let state = names::of_state(name).is_some_and(|(_, key)| names::is_state_key(key));
                if state || own.contains(name) || taken.contains(name) {
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
        Ok(())
    }

    /// Puts other step counts, none of them larger, in the place of those laid out, and in their types.
    pub(crate) fn set_steps(&mut self, dict: &StateDict) {
        let by_id = names::by_id(dict);
        let steps =
            dict.state.iter().filter_map(|(id, entry)| Some((names::state(by_id.get(id)?, names::STEP), entry.step)));
        let steps: BTreeMap<String, u64> = steps.collect();
        for tensor in &mut self.tensors {
            if let Some(&step) = steps.get(&tensor.name) {
                tensor.content = Content::Bytes(step_bytes(tensor.dtype, step));
            }
        }
    }

    /// Puts another loss scale, or none, in the place of the one laid out.
    pub(crate) fn set_grad_scaler(&mut self, state: Option<&GradScalerState>) -> Result<(), Error> {
        self.metadata.remove(names::GRAD_SCALER);
        if let Some(state) = state {
            state.validate()?;
            self.metadata.insert(names::GRAD_SCALER.into(), scaler::to_json(state, &self.grad_scaler_extra)?);
        }
        Ok(())
    }

    /// What is to be fed, in the order of the file.
    pub(crate) fn parts(&self) -> Vec<Part> {
        self.tensors.iter().filter_map(|t| if let Content::Fed(part) = t.content { Some(part) } else { None }).collect()
    }

    /// Writes all that comes before the first part. `path` is for messages.
    pub(crate) fn begin<W: Write>(self, mut writer: W, path: &str) -> Result<Body<W>, CheckpointError> {
        let mut header = serde_json::to_vec(&self).map_err(|error| CheckpointError::header(error.to_string()))?;
        // Spaces to align the data.
        header.resize(header.len().next_multiple_of(ALIGNMENT), b' ');
        if header.len() > MAX_HEADER {
            return Err(CheckpointError::header(format!("a header of {} bytes is too long", header.len())));
        }
        let length = (header.len() as u64).to_le_bytes();
        let written = writer.write_all(&length).and_then(|()| writer.write_all(&header));
        written.map_err(|error| CheckpointError::io("writing", path, &error))?;
        let rest = self.tensors.into_iter().map(|tensor| match tensor.content {
            Content::Bytes(bytes) => Segment::Bytes(bytes),
            Content::Kept(data, begin) => Segment::Kept(data, begin, tensor.size),
            Content::Fed(_) => Segment::Fed(tensor.size),
        });
        Ok(Body { writer, path: path.into(), rest: rest.collect() })
    }
}

fn fed(name: String, shape: &[usize], part: Part) -> Result<Tensor, CheckpointError> {
    let Some(elements) = elements(shape) else {
        return Err(CheckpointError::tensor(&name, format!("has the shape {shape:?}, which is too large")));
    };
    Ok(Tensor { name, dtype: Dtype::F32, shape: shape.to_vec(), size: elements * 4, content: Content::Fed(part) })
}

/// A step count in a type that holds all smaller ones too: torch's F32 as far as that counts.
fn step(param: &str, step: u64) -> Tensor {
    let dtype = if step <= 1 << 24 {
        Dtype::F32
    } else if step <= 1 << 53 {
        Dtype::F64
    } else {
        Dtype::U64
    };
    let bytes = step_bytes(dtype, step);
    let name = names::state(param, names::STEP);
    Tensor { name, dtype, shape: Vec::new(), size: bytes.len() as u64, content: Content::Bytes(bytes) }
}

fn step_bytes(dtype: Dtype, step: u64) -> Vec<u8> {
    match dtype {
        Dtype::F32 => (step as f32).to_le_bytes().to_vec(),
        Dtype::F64 => (step as f64).to_le_bytes().to_vec(),
        _ => step.to_le_bytes().to_vec(),
    }
}

impl Serialize for Layout {
    /// The JSON of the header.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("__metadata__", &self.metadata)?;
        let mut end = 0_usize;
        for tensor in &self.tensors {
            let begin = end;
            end += tensor.size as usize;
            let info = TensorInfo { dtype: tensor.dtype, shape: tensor.shape.clone(), data_offsets: (begin, end) };
            map.serialize_entry(&tensor.name, &info)?;
        }
        map.end()
    }
}

/// A file of which the header is written.
#[derive(Debug)]
pub(crate) struct Body<W> {
    writer: W,
    path: String,
    rest: VecDeque<Segment>,
}

#[derive(Debug)]
enum Segment {
    Bytes(Vec<u8>),
    Kept(Data, u64, u64),
    /// So many bytes are still to be fed.
    Fed(u64),
}

/// Bytes copied at once from another checkpoint.
const COPY: u64 = 256 << 10;

impl<W: Write> Body<W> {
    /// Writes the next bytes of the parts, which may be cut anywhere.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), CheckpointError> {
        while !bytes.is_empty() {
            self.write_own()?;
            let Some(Segment::Fed(left)) = self.rest.front_mut() else {
                return Err(CheckpointError::header("more bytes were given than the tensors have"));
            };
            let (now, later) = bytes.split_at(bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX)));
            *left -= now.len() as u64;
            self.write(now)?;
            bytes = later;
        }
        Ok(())
    }

    /// The writer behind the last tensor.
    pub(crate) fn finish(mut self) -> Result<W, CheckpointError> {
        self.write_own()?;
        if self.rest.is_empty() {
            return Ok(self.writer);
        }
        Err(CheckpointError::header("fewer bytes were given than the tensors have"))
    }

    /// Writes what comes before the next bytes to be fed.
    fn write_own(&mut self) -> Result<(), CheckpointError> {
        while let Some(segment) = self.rest.pop_front() {
            match segment {
                Segment::Bytes(bytes) => self.write(&bytes)?,
                Segment::Kept(data, begin, size) => {
                    let mut done = 0;
                    let mut part = vec![0; COPY.min(size) as usize];
                    while done < size {
                        part.truncate((size - done).min(COPY) as usize);
                        data.read(begin + done, &mut part)?;
                        self.write(&part)?;
                        done += part.len() as u64;
                    }
                }
                Segment::Fed(0) => {}
                Segment::Fed(left) => {
                    self.rest.push_front(Segment::Fed(left));
                    break;
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), CheckpointError> {
        self.writer.write_all(bytes).map_err(|error| CheckpointError::io("writing", &self.path, &error))
    }
}
