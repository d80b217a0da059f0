//! Checkpoint files: a state dict, and optionally the model, as safetensors. `torch_checkpoint.py` converts torch's own
//! files into this form.
//!
//! For each parameter that has taken a step, a file has the tensors `optimizer.state.NAME.KEY` with KEY `exp_avg`,
//! `exp_avg_sq`, `max_exp_avg_sq` (with amsgrad) and `step` (a scalar). The parameter's values, if the file has them,
//! are `model.NAME`. The metadata entry `optimizer` is JSON: `param_groups` as in torch's state dict and `param_names`,
//! the name of each packed id. Without names, ids take their place. The optional entry `grad_scaler` is JSON too: a
//! dynamic loss scale under the keys of torch's `GradScaler.state_dict()`. `wgpu_adam.version` is the version of this
//! form; torch's files have none. Everything else is kept, and written back by [`CheckpointContents::keep`].

#[cfg(not(target_family = "wasm"))]
pub(crate) mod atomic;
mod body;
pub(crate) mod contents;
mod data;
pub(crate) mod dtype;
mod entries;
mod foreign;
mod groups;
mod header;
pub(crate) mod layout;
mod map;
mod names;
mod outline;
mod scaler;
mod state_dict;
pub(crate) mod tensor;
mod values;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::Error;
use crate::error::checkpoint::CheckpointError;
use crate::planes::Plane;
use crate::state_dict::StateDict;
use crate::state_dict::spoiled::Spoiled;
use data::Data;
use dtype::Dtype;
use header::{Header, Located};
use outline::Outline;
use tensor::CheckpointTensor;

/// A checkpoint that was opened and verified: header, names, types, shapes, places, options, step counts and the
/// numbers of all moments. Readable without a GPU.
///
/// A file with NaN or infinite moments can be opened, so that it can be examined; loading refuses them, see
/// [`Error::SpoiledState`]. Names of parameters may be any text: code that makes folders or files of them must check
/// that none leads elsewhere.
///
/// Holds only the header: tensors are read on demand. Nothing may write to the file meanwhile. Another file may take
/// its place, which is what [`save_checkpoint`](crate::WgpuAdam::save_checkpoint) does.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    data: Data,
    header: Header,
    /// The state dict, with empty moments.
    outline: StateDict,
    /// Each parameter's name in the file, by id.
    names: BTreeMap<u64, String>,
    /// Unknown contents of the metadata entry `optimizer`, as JSON.
    extra: BTreeMap<String, String>,
    /// Unknown contents of the metadata entry `grad_scaler`, as JSON.
    grad_scaler_extra: BTreeMap<String, String>,
    /// The first spoiled moment of each parameter that has one, by id.
    spoiled: BTreeMap<u64, Spoiled>,
}

impl Checkpoint {
    /// Opens a file and verifies it. Reads the whole file once, in small parts. Needs memory in proportion to the
    /// header.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] with the reason, and options out of range as for
    /// [`load_state_dict`](crate::WgpuAdam::load_state_dict).
    #[cfg(not(target_family = "wasm"))]
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Self, Error> {
        Self::verified(Data::open(path.as_ref())?)
    }

    /// Verifies a checkpoint in memory: for browsers, which have no files.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Result<Self, Error> {
        Self::verified(Data::memory(bytes.into()))
    }

    fn verified(data: Data) -> Result<Self, Error> {
        let header = Header::read(&data)?;
        let Outline { dict: outline, extra, grad_scaler_extra } = outline::outline(&data, &header)?;
        let (names, spoiled) = (names::by_id(&outline), BTreeMap::new());
        let mut checkpoint = Self { names, data, header, outline, extra, grad_scaler_extra, spoiled };
        checkpoint.verify_values()?;
        Ok(checkpoint)
    }

    /// Returns the optimizer's state with all of its moments. Needs as much memory as they take in the file.
    ///
    /// # Errors
    /// The file cannot be read any more.
    pub fn state_dict(&self) -> Result<StateDict, Error> {
        let mut dict = self.outline.clone();
        for (&id, entry) in &mut dict.state {
            for (plane, moment) in entry.moments_mut() {
                let located = self.moment(id, plane)?;
                moment.resize(plane.format().elements(located.size) as usize, 0.0);
                self.data.read(located.begin, bytemuck::cast_slice_mut(moment))?;
            }
        }
        Ok(dict)
    }

    /// The state dict with empty moments: the groups, and the step count and shape of each parameter that has state.
    #[must_use]
    pub fn outline(&self) -> &StateDict {
        &self.outline
    }

    /// The file's metadata: the entries of this form, and any others.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.header.metadata
    }

    /// The name, type and shape of each tensor.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, Dtype, &[usize])> {
        self.header.tensors.iter().map(|(name, located)| (name.as_str(), located.dtype, located.shape.as_slice()))
    }

    /// Reads a tensor of any name to the host.
    ///
    /// # Errors
    /// There is no such tensor, or the file cannot be read any more.
    pub fn tensor(&self, name: &str) -> Result<CheckpointTensor, Error> {
        let located = self.located(name)?;
        let mut bytes = vec![0; located.size as usize];
        self.data.read(located.begin, &mut bytes)?;
        Ok(CheckpointTensor::new(located.dtype, located.shape.clone(), bytes)?)
    }

    fn located(&self, name: &str) -> Result<&Located, CheckpointError> {
        let missing = || CheckpointError::Missing { name: name.into(), reason: "which was asked for" };
        self.header.tensors.get(name).ok_or_else(missing)
    }

    fn moment(&self, id: u64, plane: Plane) -> Result<&Located, CheckpointError> {
        self.located(&names::state(self.names.get(&id).map_or("", String::as_str), plane.key()))
    }
}
