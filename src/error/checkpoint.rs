//! What can be wrong with a checkpoint file.

/// What is wrong with a checkpoint, or with reading or writing it. Tensors have the names that they have in the file.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The operating system returned an error.
    #[error("{action} {path}: {message}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file. Empty for bytes in memory, and for a writer of the caller.
        path: String,
        /// The kind of the system's error.
        kind: std::io::ErrorKind,
        /// The system's message.
        message: String,
    },

    /// The bytes before the tensors are not a safetensors header, or the header is longer than the file.
    #[error("no checkpoint: {problem}")]
    Header {
        /// What is wrong.
        problem: String,
    },

    /// A tensor cannot be where or what the header says, or does not have the content that its name promises.
    #[error("tensor \"{name}\" of the checkpoint {problem}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong with it.
        problem: String,
    },

    /// A run is to be loaded, but the checkpoint has the optimizer's state alone.
    #[error(
        "the checkpoint has the optimizer's state and no values of parameters (model.NAME), so a run cannot go on from it; give \
         the parameters their values yourself and load with LoadOptions::optimizer_only, or save the whole run with \
         save_checkpoint"
    )]
    NoParameters,

    /// A tensor is missing, without which the checkpoint is not whole.
    #[error("the checkpoint has no tensor \"{name}\", {reason}")]
    Missing {
        /// The tensor.
        name: String,
        /// Why it should be there.
        reason: &'static str,
    },

    /// The file has tensors but no optimizer state: for example a model's weights alone.
    #[error(
        "there is no optimizer state in the file: it has {}, the first of them \"{first}\", and no metadata \
         \"optimizer\"; if these are a model's weights, write them to the parameters' buffers and begin with a new \
         optimizer, for a run is resumed from a file of save_checkpoint, or of tools/torch_checkpoint.py from one of \
         torch's that has an optimizer in it",
        super::list::count(*.tensors as u64, "tensor")
    )]
    NoState {
        /// The number of tensors.
        tensors: usize,
        /// The first name in their order.
        first: String,
    },

    /// A number that no run of Adam reaches, whatever its gradients: a negative square, or a moment other than zero
    /// before the first step.
    #[error("tensor \"{name}\" of the checkpoint {problem} at element {element}: {value}")]
    Value {
        /// The tensor.
        name: String,
        /// What is wrong with the number.
        problem: &'static str,
        /// The element's index.
        element: u64,
        /// The number.
        value: f32,
    },

    /// A moment that no run of Adam reaches, whatever its gradients, and that could not be loaded: something other than
    /// the optimizer has written to it. Nothing was saved, and an old file is unchanged. State that infinite gradients
    /// have spoiled is [`SpoiledState`](crate::Error::SpoiledState) instead.
    #[error(
        "tensor \"{name}\" is not saved, for it could not be loaded: it {problem} at element {element}: {value}, which no \
         step leaves; start the parameter anew with record_reset_state, or go on from the last checkpoint"
    )]
    NotSaved {
        /// The tensor.
        name: String,
        /// What is wrong with the number.
        problem: &'static str,
        /// The element's index.
        element: u64,
        /// The number.
        value: f32,
    },

    /// A metadata entry is missing or is not what it should be.
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
