//! What is done with gradients between the backward pass and the step.

use crate::error::Error;

/// What is done with gradients before they are used. All of it is decided on the GPU, in the pass of the step: nothing
/// waits, nothing is read back. Gradients themselves are never written, but for
/// [`zero_grad_after_step`](Self::zero_grad_after_step): torch's fused step writes unscaled ones back.
///
/// In this order: gradients are multiplied by 1 / (loss scale * accumulate), then by the clip factor, then clamped.
/// Clipping by norm, and skipping what is not finite, cost one more read of the gradients and two kinds of small
/// dispatches; all else costs nothing.
///
/// What is measured is the gradients of the parameters that step, and an arena's padding between them, which is zero
/// unless somebody writes there: a NaN in it skips the step. Where no parameter has a gradient nothing is decided: no
/// statistics, no step taken or skipped, and a dynamic scale stays as it is. torch's `GradScaler` would raise there.
///
/// ```
/// use wgpu_adam::{GradientControl, LossScale};
/// let control = GradientControl { max_norm: Some(1.0), loss_scale: LossScale::dynamic(), ..Default::default() };
/// assert_eq!(control.accumulate, 1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GradientControl {
    /// Scales all gradients of the optimizer, all groups together, by min(1, max_norm / (norm + 1e-6)), as torch's
    /// `clip_grad_norm_`. Above 0 and finite after rounding to f32; torch allows 0 as well, which would turn every
    /// gradient to zero and let parameters coast: give no gradients instead. Default: none.
    ///
    /// Squares neither overflow nor vanish: a norm is right from 1e-38 to 3e38, where torch's f32 sums would be infinite
    /// from 1.8e19 on. As in torch, a NaN makes all gradients NaN and an infinite one leaves zeros and NaN, unless such
    /// steps are skipped.
    pub max_norm: Option<f64>,
    /// Which norm is clipped and told. Default: two, torch's.
    pub norm_type: NormType,
    /// Measures the norm of the gradients for [`StepStatistics`](crate::StepStatistics) where nothing else does: without
    /// clipping and skipping. The parameters get the same bits as without. Costs what clipping costs. Default: false.
    pub measure_norm: bool,
    /// Clamps each element to this magnitude, as torch's `clip_grad_value_`; NaN stays NaN. Above 0. Default: none.
    pub clip_value: Option<f64>,
    /// Skips a step of which any gradient is infinite or NaN: parameters, moments and step counts stay as they are, bit
    /// for bit. torch's `error_if_nonfinite` would have to wait for the GPU; here
    /// [`StepStatistics::found_inf`](crate::StepStatistics::found_inf) tells, some steps later. Default: false.
    pub skip_nonfinite: bool,
    /// What the loss was multiplied by. Default: none.
    pub loss_scale: LossScale,
    /// How many micro-batches were summed into the gradients, which are divided by it. At least 1, the default.
    pub accumulate: u32,
    /// Fills all gradients with zeros behind each step, taken or skipped, as
    /// [`record_zero_grad`](crate::WgpuAdam::record_zero_grad) with `Fill` would. Default: false.
    pub zero_grad_after_step: bool,
}

impl Default for GradientControl {
    /// Nothing: gradients are used as they are.
    fn default() -> Self {
        Self {
            max_norm: None,
            norm_type: NormType::Two,
            measure_norm: false,
            clip_value: None,
            skip_nonfinite: false,
            loss_scale: LossScale::None,
            accumulate: 1,
            zero_grad_after_step: false,
        }
    }
}

/// A norm over all gradients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum NormType {
    /// The root of the sum of squares.
    #[default]
    Two,
    /// The largest magnitude.
    Infinity,
}

/// What the loss was multiplied by before the backward pass, so that small gradients do not vanish in f16.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum LossScale {
    /// By nothing.
    #[default]
    None,
    /// By this: above 0 and finite, and small enough that an f32 holds 1 / (scale * [`accumulate`](GradientControl::accumulate))
    /// without becoming denormal.
    Fixed(f64),
    /// By a scale that lives on the device, in [`loss_scale_buffer`](crate::WgpuAdam::loss_scale_buffer), by the rules of
    /// `torch.amp.GradScaler`: a step whose gradients are not all finite is skipped and multiplies the scale by
    /// `backoff_factor`; `growth_interval` steps in a row without one multiply it by `growth_factor`, unless that is
    /// infinite. Computed in f32. A backward pass in f32 may hardly ever overflow: from 2^127 / `accumulate` on the scale's
    /// reciprocal is denormal, and devices that flush those make zeros of the gradients.
    Dynamic {
        /// The first scale, in the range of a fixed one. torch's default: 65536.
        init_scale: f64,
        /// Above 1. torch's default: 2.
        growth_factor: f64,
        /// Between 0 and 1. torch's default: 0.5.
        backoff_factor: f64,
        /// At least 1. torch's default: 2000.
        growth_interval: u32,
    },
}

impl LossScale {
    /// A dynamic scale with the defaults of `torch.amp.GradScaler`.
    #[must_use]
    pub fn dynamic() -> Self {
        Self::Dynamic { init_scale: 65536.0, growth_factor: 2.0, backoff_factor: 0.5, growth_interval: 2000 }
    }

    pub(crate) fn first(self) -> f64 {
        match self {
            Self::None => 1.0,
            Self::Fixed(scale) => scale,
            Self::Dynamic { init_scale, .. } => init_scale,
        }
    }
}

impl GradientControl {
    pub(crate) fn skips(&self) -> bool {
        self.skip_nonfinite || matches!(self.loss_scale, LossScale::Dynamic { .. })
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        const POSITIVE: &str = "above 0 and finite, and so after rounding to f32";
        let given = [("max_norm", self.max_norm), ("clip_value", self.clip_value)];
        for (option, value) in given.into_iter().filter_map(|(option, value)| Some((option, value?))) {
            check(option, value, positive(value), POSITIVE)?;
        }
        check("accumulate", f64::from(self.accumulate), self.accumulate >= 1, "at least 1")?;
        let first = self.loss_scale.first();
        check("loss_scale", first, positive(first), POSITIVE)?;
        // A denormal factor would be flushed to zero, and the gradients with it.
        let divides = |by: f64| (1.0 / by) as f32 >= f32::MIN_POSITIVE && positive(1.0 / by);
        check("loss_scale", first, divides(first), "such that 1 / loss_scale is a normal f32")?;
        let both = first * f64::from(self.accumulate);
        let normal = "such that 1 / (loss_scale * accumulate) is a normal f32";
        check("accumulate", self.accumulate.into(), divides(both), normal)?;
        if let LossScale::Dynamic { growth_factor, backoff_factor, growth_interval, .. } = self.loss_scale {
            const OPTIONS: [&str; 3] = ["growth_factor", "backoff_factor", "growth_interval"];
            check_growth(OPTIONS, growth_factor, backoff_factor, growth_interval)?;
        }
        Ok(())
    }
}

pub(super) fn check(option: &'static str, value: f64, within: bool, requirement: &'static str) -> Result<(), Error> {
    if within { Ok(()) } else { Err(Error::InvalidOption { option, group: None, value, requirement }) }
}

pub(super) fn positive(value: f64) -> bool {
    (value as f32) > 0.0 && (value as f32).is_finite()
}

/// What a dynamic scale grows and backs off by, under these names.
pub(super) fn check_growth(names: [&'static str; 3], growth: f64, backoff: f64, interval: u32) -> Result<(), Error> {
    let [growth_factor, backoff_factor, growth_interval] = names;
    let grows = (growth as f32) > 1.0 && (growth as f32).is_finite();
    check(growth_factor, growth, grows, "above 1 and finite, and so after rounding to f32")?;
    let backs_off = (backoff as f32) > 0.0 && (backoff as f32) < 1.0;
    check(backoff_factor, backoff, backs_off, "between 0 and 1, and so after rounding to f32")?;
    check(growth_interval, interval.into(), interval >= 1, "at least 1")
}
