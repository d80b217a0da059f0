//! Options for loading state.

use crate::state_dict::matching::StateMatching;

/// How [`load_state_dict_with`](crate::WgpuAdam::load_state_dict_with) and `load_from_with` load state. The defaults
/// are what `load_state_dict` and `load_from` use.
///
/// ```
/// use wgpu_adam::{LoadOptions, StateMatching};
/// let options = LoadOptions::new().matching(StateMatching::Partial).allow_nonfinite();
/// assert!(options.allow_nonfinite);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadOptions {
    /// Which entry belongs to which parameter. Default: [`StateMatching::Strict`].
    pub matching: StateMatching,
    /// Whether state that infinite or NaN gradients have spoiled is loaded, as in torch: NaN, and an infinite
    /// `exp_avg`. Default: false. See [`Error::SpoiledState`](crate::Error::SpoiledState).
    pub allow_nonfinite: bool,
    /// Whether only the optimizer's state is loaded from a checkpoint, without the parameters' values. Default: false.
    /// State dicts have no such values.
    pub optimizer_only: bool,
}

impl LoadOptions {
    /// Returns the defaults.
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

    /// Loads spoiled state too: to examine it, to continue as torch would, or to restart the affected parameters with
    /// [`record_reset_state`](crate::WgpuAdam::record_reset_state).
    #[must_use]
    pub fn allow_nonfinite(mut self) -> Self {
        self.allow_nonfinite = true;
        self
    }

    /// Loads only the optimizer's state from a checkpoint: for parameters that have their values from elsewhere, or for
    /// a file without values.
    #[must_use]
    pub fn optimizer_only(mut self) -> Self {
        self.optimizer_only = true;
        self
    }
}
