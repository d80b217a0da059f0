//! Copies of state that are under way, as steps see them.

use std::sync::Arc;

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
