//! How a state is loaded.

use crate::state_dict::matching::StateMatching;

/// How [`load_state_dict_with`](crate::WgpuAdam::load_state_dict_with) takes over a state. By default as
/// [`load_state_dict`](crate::WgpuAdam::load_state_dict).
///
/// ```
/// use wgpu_adam::{LoadOptions, StateMatching};
/// let options = LoadOptions::new().matching(StateMatching::Partial);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadOptions {
    /// Which entry belongs to which parameter. Default: [`StateMatching::Strict`].
    pub matching: StateMatching,
}

impl LoadOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`matching`](Self::matching).
    #[must_use]
    pub fn matching(mut self, matching: StateMatching) -> Self {
        self.matching = matching;
        self
    }
}
