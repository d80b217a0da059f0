//! What happens to gradients between the backward pass and the step.

use crate::error::Error;

/// What happens to gradients before a step uses them. The GPU decides all of it, in the pass of the step: nothing
/// waits, and nothing is read back. The gradients in memory stay as they are, except with
/// [`zero_grad_after_step`](Self::zero_grad_after_step). torch's fused step, in contrast, writes unscaled gradients
/// back.
///
/// Gradients are multiplied by 1 / (loss scale * accumulate), then by the clip factor, then clamped. Clipping by norm,
/// measuring the norm and skipping cost one more read of the gradients and two kinds of small dispatches. Everything
/// else is free.
///
/// Measures the gradients of the parameters that step, and an arena's padding between them. The padding is zero unless
/// the caller writes there; a NaN there skips the step. If no parameter has a gradient, nothing is decided: there are
/// no statistics, no step is taken or skipped, and a dynamic scale stays as it is. torch's `GradScaler` would raise an
/// error.
///
/// ```
/// use wgpu_adam::{GradientControl, LossScale};
/// let control = GradientControl { max_norm: Some(1.0), loss_scale: LossScale::dynamic(), ..Default::default() };
/// assert_eq!(control.accumulate, 1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GradientControl {
    /// Scales all gradients of the optimizer, over all groups together, by min(1, max_norm / (norm + 1e-6)), as torch's
    /// `clip_grad_norm_` does. Must be above 0 and finite after rounding to f32. torch also allows 0, which would make
    /// every gradient zero while moments still move parameters; remove the gradients instead. Default: none.
    ///
    /// Squares neither overflow nor underflow: the norm is right from 1e-38 to 3e38, where torch's f32 sums would be
    /// infinite from 1.8e19 on. As in torch, a NaN makes all gradients NaN, and an infinite gradient makes zeros and
    /// NaN, unless such steps are skipped.
    pub max_norm: Option<f64>,
    /// Which norm is clipped and reported. Default: two, torch's.
    pub norm_type: NormType,
    /// Measures the norm of the gradients for [`StepStatistics`](crate::StepStatistics) even without clipping and
    /// skipping. Parameters get the same bits as without it. Costs what clipping costs. Default: false.
    pub measure_norm: bool,
    /// Clamps each element to this magnitude, as torch's `clip_grad_value_` does; NaN stays NaN. Must be above 0 and
    /// finite after rounding to f32. Default: none.
    pub clip_value: Option<f64>,
    /// Skips a step if any gradient is infinite or NaN: parameters, moments and step counts keep their bits. torch's
    /// `error_if_nonfinite` has to wait for the GPU. Here
    /// [`StepStatistics::found_inf`](crate::StepStatistics::found_inf) reports it some steps later. Default: false.
    pub skip_nonfinite: bool,
    /// The factor by which the loss was multiplied. Default: none.
    pub loss_scale: LossScale,
    /// The number of micro-batches whose gradients were summed. Gradients are divided by it. At least 1. Default: 1.
    pub accumulate: u32,
    /// Fills all gradients with zeros after each step, taken or skipped, as
    /// [`record_zero_grad`](crate::WgpuAdam::record_zero_grad) with `Fill` does. Default: false.
    pub zero_grad_after_step: bool,
}

impl Default for GradientControl {
    /// No control: gradients are used as they are.
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

/// The factor by which the loss was multiplied before the backward pass, so that small gradients do not underflow in
/// f16.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum LossScale {
    /// No factor.
    #[default]
    None,
    /// This factor. Must be above 0 and finite, and so small that 1 / (scale *
    /// [`accumulate`](GradientControl::accumulate)) is not denormal in f32.
    Fixed(f64),
    /// A factor that lives on the device, in [`loss_scale_buffer`](crate::WgpuAdam::loss_scale_buffer), and follows the
    /// rules of `torch.amp.GradScaler`. A step whose gradients are not all finite is skipped and multiplies the scale
    /// by `backoff_factor`. After `growth_interval` steps in a row without such a step, the scale is multiplied by
    /// `growth_factor`, unless the product is infinite. Computed in f32.
    ///
    /// A backward pass in f32 may hardly ever overflow, so that the scale keeps growing. From 2^127 / `accumulate` on,
    /// its reciprocal is denormal, and devices that flush denormals make all gradients zero.
    Dynamic {
        /// The first scale, in the range of [`Fixed`](LossScale::Fixed). torch's default: 65536.
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
    /// Returns a dynamic scale with the defaults of `torch.amp.GradScaler`.
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
        // Devices may flush a denormal factor to zero, and would make all gradients zero.
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

/// Checks the numbers by which a dynamic scale grows and backs off. Errors use these names.
pub(super) fn check_growth(names: [&'static str; 3], growth: f64, backoff: f64, interval: u32) -> Result<(), Error> {
    let [growth_factor, backoff_factor, growth_interval] = names;
    let grows = (growth as f32) > 1.0 && (growth as f32).is_finite();
    check(growth_factor, growth, grows, "above 1 and finite, and so after rounding to f32")?;
    let backs_off = (backoff as f32) > 0.0 && (backoff as f32) < 1.0;
    check(backoff_factor, backoff, backs_off, "between 0 and 1, and so after rounding to f32")?;
    check(growth_interval, interval.into(), interval >= 1, "at least 1")
}
