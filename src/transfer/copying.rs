//! Lets steps check whether a copy of the state is under way.

use std::sync::Arc;

/// The settings and the progress of copies of state to the host and back.
#[derive(Debug)]
pub(crate) struct Copies {
    /// The size of staging buffers in bytes.
    pub staging: u64,
    /// Whether a copy under way needs the state to stay as it is.
    pub copying: Copying,
}

impl Default for Copies {
    fn default() -> Self {
        Self { staging: 64 << 20, copying: Copying::default() }
    }
}

/// Lets an optimizer's steps check whether a copy of its state is incomplete. Holds no wgpu object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Copying(Arc<()>);

impl Copying {
    /// Returns a token, to be held as long as the state that is copied must not change.
    pub(super) fn hold(&self) -> Self {
        self.clone()
    }

    /// Whether a token is held.
    pub(crate) fn is_under_way(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}
