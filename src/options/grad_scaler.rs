//! The dynamic loss scale in state dicts: the state of `torch.amp.GradScaler`.

use super::gradient_control::{LossScale, check, check_growth, positive};
use crate::error::Error;

/// The content of `torch.amp.GradScaler.state_dict()`: a [`LossScale::Dynamic`] and how far it has come. In torch it is
/// an object beside the optimizer. Here it is a part of the [`StateDict`](crate::StateDict).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GradScalerState {
    /// The scale. As f32, the scale and its reciprocal must be above 0 and finite.
    pub scale: f64,
    /// As in [`LossScale::Dynamic`].
    pub growth_factor: f64,
    /// As in [`LossScale::Dynamic`].
    pub backoff_factor: f64,
    /// As in [`LossScale::Dynamic`].
    pub growth_interval: u32,
    /// torch's `_growth_tracker`: the number of steps taken in a row since the scale last changed. Below 2^31, the
    /// range of torch's counter.
    pub growth_tracker: u32,
}

/// The scale and its growth tracker: the beginning of the device's state.
pub(crate) type Words = [u32; 2];

impl GradScalerState {
    /// Makes the state from these options and the device's words. `None` if the scale has backed off so far that no
    /// gradient can be divided by it.
    pub(crate) fn from_words(options: LossScale, [scale, growth_tracker]: Words) -> Option<Self> {
        let LossScale::Dynamic { growth_factor, backoff_factor, growth_interval, .. } = options else { return None };
        let scale = f32::from_bits(scale).into();
        let state = Self { scale, growth_factor, backoff_factor, growth_interval, growth_tracker };
        state.validate().is_ok().then_some(state)
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        const SCALE: &str = "above 0 and finite, and so its reciprocal, after rounding to f32";
        const OPTIONS: [&str; 3] =
            ["grad_scaler.growth_factor", "grad_scaler.backoff_factor", "grad_scaler.growth_interval"];
        check("grad_scaler.scale", self.scale, positive(self.scale) && positive(1.0 / self.scale), SCALE)?;
        check_growth(OPTIONS, self.growth_factor, self.backoff_factor, self.growth_interval)?;
        let tracker = self.growth_tracker;
        check("grad_scaler.growth_tracker", tracker.into(), tracker < 1 << 31, "below 2^31")
    }

    pub(crate) fn words(&self) -> Words {
        [(self.scale as f32).to_bits(), self.growth_tracker]
    }
}
