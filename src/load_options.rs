//! What loading is to let pass.

/// What [`load_state_dict_with`](crate::WgpuAdam::load_state_dict_with) and `load_from_with` let pass beyond what is loaded
/// by default; the default is what `load_state_dict` and `load_from` do.
///
/// ```
/// let options = wgpu_adam::LoadOptions::default().allow_nonfinite();
/// assert!(options.allow_nonfinite);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadOptions {
    /// Whether state that infinite or NaN gradients have spoiled is loaded, as torch does: NaN, and an infinite `exp_avg`.
    /// See [`Error::SpoiledState`](crate::Error::SpoiledState).
    pub allow_nonfinite: bool,
}

impl LoadOptions {
    /// Loads spoiled state too: to look at it, to go on as torch would, or to start the parameters that have it anew with
    /// [`record_reset_state`](crate::WgpuAdam::record_reset_state).
    #[must_use]
    pub fn allow_nonfinite(mut self) -> Self {
        self.allow_nonfinite = true;
        self
    }
}
