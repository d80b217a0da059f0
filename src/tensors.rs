//! What the caller provides: tensors in buffers, single, in an arena, or in groups.

pub(crate) mod arena;
pub(crate) mod group;
pub(crate) mod tensor;
