//! Copies of state that are under way, as steps see them.

use std::sync::Arc;

/// How state is copied to the host and back.
#[derive(Debug)]
pub(crate) struct Copies {
    /// Bytes of staging buffers.
    pub staging: u64,
    /// Whether a copy of the state needs it to stay as it is.
    pub copying: Copying,
}

impl Default for Copies {
    fn default() -> Self {
        Self { staging: 64 << 20, copying: Copying::default() }
    }
}

/// Tells an optimizer's steps that a copy of its state is not complete. Holds no wgpu object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Copying(Arc<()>);

impl Copying {
    /// A token, held as long as what is copied must not change.
    pub(super) fn hold(&self) -> Self {
        self.clone()
    }

    /// Whether a token is out.
    pub(crate) fn is_under_way(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}
