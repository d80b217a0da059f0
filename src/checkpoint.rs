//! Checkpoint files: a state dict, and if wanted the model, as safetensors, in the form that `torch_checkpoint.py` makes
//! of torch's own files.
//!
//! A file has for each parameter that has taken a step the tensors `optimizer.state.NAME.KEY` with KEY `exp_avg`,
//! `exp_avg_sq`, `max_exp_avg_sq` (with amsgrad) and `step` (a scalar), and for its values, if they are in it,
//! `model.NAME`. Its metadata entry `optimizer` is JSON: `param_groups` as in torch's state dict and `param_names`, the name
//! of each packed id; without names, ids stand in their place. The entry `grad_scaler`, if there is one, is JSON too: a
//! dynamic loss scale by the keys of torch's `GradScaler.state_dict()`. `wgpu_adam.version` is the version of this form;
//! torch's files have none. All else is kept, and written back by [`CheckpointContents::keep`].

#[cfg(not(target_family = "wasm"))]
pub(crate) mod atomic;
mod body;
pub(crate) mod contents;
mod data;
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

use safetensors::Dtype;

use crate::error::Error;
use crate::error::checkpoint::CheckpointError;
use crate::planes::Plane;
use crate::state_dict::StateDict;
use crate::state_dict::spoiled::Spoiled;
use data::Data;
use header::{Header, Located};
use outline::Outline;
use tensor::CheckpointTensor;

/// A checkpoint that was opened and found whole: header, names, types, shapes, places, options, step counts and the
/// numbers of all moments. Readable without a GPU.
///
/// Moments that are NaN or infinite do not keep a file from being opened, so that it can be looked into; loading refuses
/// them, see [`Error::SpoiledState`]. Names of parameters may be any text: whoever makes folders or files of them must see to
/// it that none leads elsewhere.
///
/// Holds the header only: tensors are read when they are asked for. A file must not be written to meanwhile, while another
/// may take its place, as [`save_checkpoint`](crate::WgpuAdam::save_checkpoint) makes it do.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    data: Data,
    header: Header,
    /// The state dict, its moments without values.
    outline: StateDict,
    /// What parameters are called in the file, by id.
    names: BTreeMap<u64, String>,
    /// What else the metadata entry `optimizer` holds, as JSON.
    extra: BTreeMap<String, String>,
    /// And the entry `grad_scaler`.
    grad_scaler_extra: BTreeMap<String, String>,
    /// The first spoiled moment of each parameter that has one, by id.
    spoiled: BTreeMap<u64, Spoiled>,
}

impl Checkpoint {
    /// Opens a file and verifies it. Reads the whole of it once, in small parts; needs memory in proportion to the header.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] with what is wrong, and options out of range as for
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

    /// The optimizer's state with all of its moments: needs as much memory as they take in the file.
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

    /// Step count and shape of each parameter that has state, and the groups: the state dict with empty moments.
    #[must_use]
    pub fn outline(&self) -> &StateDict {
        &self.outline
    }

    /// The file's metadata: the entries of this form, and others that somebody put there.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.header.metadata
    }

    /// All tensors by name: type and shape.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, Dtype, &[usize])> {
        self.header.tensors.iter().map(|(name, located)| (name.as_str(), located.dtype, located.shape.as_slice()))
    }

    /// A tensor of any name, read to the host.
    ///
    /// # Errors
    /// No such tensor; the file cannot be read any more.
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
