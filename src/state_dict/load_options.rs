//! How a state is loaded.

use crate::state_dict::matching::StateMatching;

/// How [`load_state_dict_with`](crate::WgpuAdam::load_state_dict_with) and `load_from_with` take over a state. The default is
/// what `load_state_dict` and `load_from` do.
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
    /// Whether state that infinite or NaN gradients have spoiled is loaded, as torch does: NaN, and an infinite `exp_avg`.
    /// Default: false. See [`Error::SpoiledState`](crate::Error::SpoiledState).
    pub allow_nonfinite: bool,
    /// Whether a checkpoint's values of parameters are left in it. Default: false. A state dict has none.
    pub optimizer_only: bool,
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

    /// Loads spoiled state too: to look at it, to go on as torch would, or to start the parameters that have it anew with
    /// [`record_reset_state`](crate::WgpuAdam::record_reset_state).
    #[must_use]
    pub fn allow_nonfinite(mut self) -> Self {
        self.allow_nonfinite = true;
        self
    }

    /// Loads the optimizer's state alone from a checkpoint: for parameters that have their values from elsewhere, or a file
    /// that has none.
    #[must_use]
    pub fn optimizer_only(mut self) -> Self {
        self.optimizer_only = true;
        self
    }
}
