//! What can be wrong with a checkpoint file.

/// What is wrong with a checkpoint, or with reading or writing it. Names of tensors are those in the file.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The operating system refused.
    #[error("{action} {path}: {message}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file; empty for bytes in memory and the caller's own writer.
        path: String,
        /// The kind of the system's error.
        kind: std::io::ErrorKind,
        /// The system's words.
        message: String,
    },

    /// What comes before the tensors is no safetensors header, or is longer than the file.
    #[error("no checkpoint: {problem}")]
    Header {
        /// What is wrong.
        problem: String,
    },

    /// A tensor that cannot be where or what the header says, or is not what its name means.
    #[error("tensor \"{name}\" of the checkpoint {problem}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong with it.
        problem: String,
    },

    /// The optimizer's state alone, where a run is to be loaded.
    #[error(
        "the checkpoint has the optimizer's state and no values of parameters (model.NAME), so a run cannot go on from it; give \
         the parameters their values yourself and load with LoadOptions::optimizer_only, or save the whole run with \
         save_checkpoint"
    )]
    NoParameters,

    /// A tensor without which the checkpoint is not whole.
    #[error("the checkpoint has no tensor \"{name}\", {reason}")]
    Missing {
        /// The tensor.
        name: String,
        /// Why there should be one.
        reason: &'static str,
    },

    /// A file of tensors that says nothing of an optimizer, as files of a model's weights alone.
    #[error(
        "there is no optimizer state in the file: it has {tensors} tensor(s), the first of them \"{first}\", and no metadata \
         \"optimizer\"; if these are a model's weights, write them to the parameters' buffers and begin with a new \
         optimizer, for a run is resumed from a file of save_checkpoint, or of tools/torch_checkpoint.py from one of \
         torch's that has an optimizer in it"
    )]
    NoState {
        /// How many tensors there are.
        tensors: usize,
        /// The first of them by name.
        first: String,
    },

    /// A number that no Adam run arrives at, whatever its gradients: a negative square, a moment before the first step.
    #[error("tensor \"{name}\" of the checkpoint {problem} at element {element}: {value}")]
    Value {
        /// The tensor.
        name: String,
        /// What is wrong with the number.
        problem: &'static str,
        /// Which element it is.
        element: u64,
        /// The number.
        value: f32,
    },

    /// A moment that no Adam run arrives at, whatever its gradients, and that could not be loaded: something else has written
    /// to it. Nothing was saved: a file that was there is still the old one. What infinite gradients leave is
    /// [`SpoiledState`](crate::Error::SpoiledState).
    #[error(
        "tensor \"{name}\" is not saved, for it could not be loaded: it {problem} at element {element}: {value}, which no \
         step leaves; start the parameter anew with record_reset_state, or go on from the last checkpoint"
    )]
    NotSaved {
        /// The tensor.
        name: String,
        /// What is wrong with the number.
        problem: &'static str,
        /// Which element it is.
        element: u64,
        /// The number.
        value: f32,
    },

    /// An entry of the metadata that is missing, or is not what it should be.
    #[error("metadata \"{key}\" of the checkpoint {problem}")]
    Metadata {
        /// The entry, and the place in it.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl CheckpointError {
    pub(crate) fn header(problem: impl Into<String>) -> Self {
        Self::Header { problem: problem.into() }
    }

    pub(crate) fn tensor(name: &str, problem: impl Into<String>) -> Self {
        Self::Tensor { name: name.into(), problem: problem.into() }
    }

    pub(crate) fn metadata(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Metadata { key: key.into(), problem: problem.into() }
    }

    pub(crate) fn io(action: &'static str, path: &str, error: &std::io::Error) -> Self {
        Self::Io { action, path: path.into(), kind: error.kind(), message: error.to_string() }
    }
}
