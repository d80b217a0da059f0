//! What the caller hands over: tensors in buffers, alone, in an arena, in groups.

pub(crate) mod arena;
pub(crate) mod group;
pub(crate) mod tensor;
