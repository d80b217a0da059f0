//! What goes into a checkpoint beside the optimizer's state.

use std::collections::BTreeMap;

use safetensors::Dtype;

use crate::checkpoint::{Checkpoint, header};
use crate::error::checkpoint::CheckpointError;

/// What a checkpoint is to hold beside the optimizer's state; by default nothing.
#[derive(Clone, Debug, Default)]
pub struct CheckpointContents {
    pub(super) params: bool,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) tensors: BTreeMap<String, CheckpointTensor>,
    pub(super) kept: Option<Checkpoint>,
    pub(super) allow_nonfinite: bool,
}

impl CheckpointContents {
    /// Nothing beside the state: torch's `optimizer.state_dict()`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The values of the optimizer's parameters too, as `model.NAME`. Their buffers then need the usage `COPY_SRC`.
    #[must_use]
    pub fn params(mut self) -> Self {
        self.params = true;
        self
    }

    /// State that infinite or NaN gradients have spoiled too, as torch saves it; else that is an
    /// [error](crate::Error::SpoiledState). Such a file can be opened and looked into, and is loaded by
    /// [`LoadOptions::allow_nonfinite`](crate::LoadOptions::allow_nonfinite).
    #[must_use]
    pub fn allow_nonfinite(mut self) -> Self {
        self.allow_nonfinite = true;
        self
    }

    /// An entry of metadata: an epoch, a seed. Replaces one of the same key. `optimizer`, `grad_scaler` and
    /// `wgpu_adam.version`, the dict's own, are refused when the file is written.
    #[must_use]
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// A tensor on the host: model state that is no parameter, a curve of losses. Replaces one of the same name. The
    /// optimizer's state under a name of its own, values of another shape than their parameter's and the name
    /// `__metadata__` are refused when the file is written.
    #[must_use]
    pub fn tensor(mut self, name: impl Into<String>, tensor: CheckpointTensor) -> Self {
        self.tensors.insert(name.into(), tensor);
        self
    }

    /// All that another checkpoint holds and this one does not: tensors and metadata that are neither the optimizer's
    /// state, the loss scale included, nor its parameters' values. They are copied from its file when this one is written. Unknown options of groups
    /// need no keeping: the optimizer has them from loading.
    #[must_use]
    pub fn keep(mut self, checkpoint: &Checkpoint) -> Self {
        self.kept = Some(checkpoint.clone());
        self
    }
}

/// A tensor on the host, of any type.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckpointTensor {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl CheckpointTensor {
    /// A tensor of little-endian numbers, row-major.
    ///
    /// # Errors
    /// `bytes` of another length than type and shape have; a shape that cannot be in a file, of more than 64 dimensions or
    /// more bytes than can be counted.
    pub fn new(dtype: Dtype, shape: impl Into<Vec<usize>>, bytes: Vec<u8>) -> Result<Self, CheckpointError> {
        let shape = shape.into();
        let shown = header::shown(&shape);
        let problem = match header::size(dtype, &shape) {
            None => format!("of {dtype:?} has the shape {shown}, which cannot be in a file"),
            Some(size) if size != bytes.len() as u64 => {
                format!("of {dtype:?} and shape {shown} was given {} bytes", bytes.len())
            }
            Some(_) => return Ok(Self { dtype, shape, bytes }),
        };
        Err(CheckpointError::tensor("", problem))
    }

    /// A tensor of f32.
    ///
    /// # Errors
    /// As many values as the shape does not have.
    pub fn f32(shape: impl Into<Vec<usize>>, values: &[f32]) -> Result<Self, CheckpointError> {
        Self::new(Dtype::F32, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// The type of the numbers.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The shape, row-major.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The numbers, little-endian.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The numbers, if they are f32.
    #[must_use]
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        let word = |word: &[u8]| <[u8; 4]>::try_from(word).ok().map(f32::from_le_bytes);
        if self.dtype == Dtype::F32 { self.bytes.chunks_exact(4).map(word).collect() } else { None }
    }
}
