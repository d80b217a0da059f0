//! What a checkpoint holds.

use std::collections::BTreeMap;

use crate::checkpoint::Checkpoint;
use crate::checkpoint::tensor::CheckpointTensor;

/// What a checkpoint holds: by default the whole run, which is the optimizer's state and the parameters' values.
///
/// ```
/// use wgpu_adam::CheckpointContents;
/// let contents = CheckpointContents::new().with_metadata("epoch", "7");
/// ```
#[derive(Clone, Debug)]
pub struct CheckpointContents {
    pub(super) params: bool,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) tensors: BTreeMap<String, CheckpointTensor>,
    pub(super) kept: Option<Checkpoint>,
    pub(super) allow_nonfinite: bool,
}

impl Default for CheckpointContents {
    fn default() -> Self {
        let (metadata, tensors) = (BTreeMap::new(), BTreeMap::new());
        Self { params: true, metadata, tensors, kept: None, allow_nonfinite: false }
    }
}

impl CheckpointContents {
    /// The whole run: the optimizer's state, and the parameters' values as `model.NAME`. The parameters' buffers need
    /// the usage `COPY_SRC`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The optimizer's state alone: torch's `optimizer.state_dict()`.
    #[must_use]
    pub fn optimizer_only() -> Self {
        Self { params: false, ..Self::default() }
    }

    /// Saves state that infinite or NaN gradients have spoiled too, as torch does. Otherwise saving such state is an
    /// [error](crate::Error::SpoiledState). The file can be opened and examined, and
    /// [`LoadOptions::allow_nonfinite`](crate::LoadOptions::allow_nonfinite) loads it.
    #[must_use]
    pub fn allow_nonfinite(mut self) -> Self {
        self.allow_nonfinite = true;
        self
    }

    /// Adds an entry of metadata, for example an epoch or a seed. Replaces an entry with the same key. The dict's own
    /// keys `optimizer`, `grad_scaler` and `wgpu_adam.version` are refused when the file is written.
    #[must_use]
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Adds a tensor on the host, for example model state that is not a parameter, or a curve of losses. Replaces a
    /// tensor with the same name. When the file is written, these are refused: names of the optimizer's own state,
    /// values whose shape differs from their parameter's, and the name `__metadata__`.
    #[must_use]
    pub fn with_tensor(mut self, name: impl Into<String>, tensor: CheckpointTensor) -> Self {
        self.tensors.insert(name.into(), tensor);
        self
    }

    /// Adds everything that another checkpoint holds and this one does not: tensors and metadata, except the
    /// optimizer's state, the loss scale and the parameters' values. They are copied from the other file when this one
    /// is written. Unknown options of groups need no keeping: the optimizer has them from loading.
    #[must_use]
    pub fn keep(mut self, checkpoint: &Checkpoint) -> Self {
        self.kept = Some(checkpoint.clone());
        self
    }
}
