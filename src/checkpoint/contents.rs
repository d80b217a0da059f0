//! What goes into a checkpoint beside the optimizer's state.

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
    /// The whole run: the optimizer's state with the loss scale, and the values of its parameters as `model.NAME`. The
    /// parameters' buffers then need the usage `COPY_SRC`, which an arena's have.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The optimizer's state alone, torch's `optimizer.state_dict()`: for models that are saved elsewhere. A run cannot be
    /// resumed from such a file alone.
    #[must_use]
    pub fn optimizer_only() -> Self {
        Self { params: false, ..Self::default() }
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
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// A tensor on the host: model state that is no parameter, a curve of losses. Replaces one of the same name. The
    /// optimizer's state under a name of its own, values of another shape than their parameter's and the name
    /// `__metadata__` are refused when the file is written.
    #[must_use]
    pub fn with_tensor(mut self, name: impl Into<String>, tensor: CheckpointTensor) -> Self {
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
