//! Gradient control: clipping by norm, loss scales and skipped steps, decided on the GPU.
//!
//! - [`controller`]: what stays on the device from step to step. [`skipped`]: its counts of skipped steps, for each
//!   tensor.
//! - [`loss_scale`]: how the dynamic scale begins, is loaded and is written.
//! - [`statistics`]: what the device decided, on its way to the host.
//! - [`question`]: how the host learns the counts of skipped steps, for tensors that have not all stepped together.

pub(crate) mod controller;
mod loss_scale;
pub(crate) mod question;
pub(crate) mod skipped;
pub(crate) mod statistics;

use crate::options::grad_scaler::GradScalerState;
use crate::options::gradient_control::{GradientControl, LossScale, NormType};
use crate::plan::Code;
use crate::tensors::tensor::TensorBuffer;
use controller::Controller;

/// The options of gradient control that are in force, and what they need.
#[derive(Debug, Default)]
pub(crate) struct Control {
    pub options: GradientControl,
    pub found_inf: Option<TensorBuffer>,
    /// Whether steps were recorded that may have been skipped. The host then does not know how many were, and biases
    /// are corrected on the device. Stays set until a state dict is loaded.
    pub device_steps: bool,
    /// Whether a history was split by a step, and the device has not been asked since then for the counts of skipped
    /// steps.
    pub is_parted: bool,
    /// The number of steps recorded while the device decided.
    pub recorded: u64,
    pub controller: Option<Controller>,
    /// A scale that was loaded while no dynamic scale was in force.
    pub kept_scaler: Option<GradScalerState>,
}

impl Control {
    /// Whether the next step may be skipped, or earlier ones may have been.
    pub(crate) fn may_skip(&self) -> bool {
        self.options.skips() || self.found_inf.is_some() || self.device_steps
    }

    /// Whether control.wgsl runs.
    pub(crate) fn decides(&self) -> bool {
        self.measures() || self.may_skip()
    }

    /// Whether the gradients are measured.
    pub(crate) fn measures(&self) -> bool {
        self.options.max_norm.is_some() || self.options.measure_norm || self.options.skips()
    }

    /// The norm by which gradients are measured, if they are.
    pub(crate) fn measured(&self) -> Option<NormType> {
        self.measures().then_some(self.options.norm_type)
    }

    /// Everything here that a plan depends on, for comparison.
    pub(crate) fn bears_on_plan(&self) -> impl PartialEq + use<> {
        (self.decides(), self.measured(), self.may_skip(), self.in_kernel(), self.options.clip_value.is_some())
    }

    /// The code that adam.wgsl is compiled with.
    pub(crate) fn code(&self) -> Code {
        Code { gradient_control: self.in_kernel(), clip_value: self.options.clip_value.is_some(), ..Code::default() }
    }

    /// The largest magnitude that clipping leaves to an element of a gradient.
    pub(crate) fn clip_value(&self) -> f32 {
        self.options.clip_value.map_or(f32::INFINITY, |most| most as f32)
    }

    /// Whether adam.wgsl uses `grad_scale` and `skip`.
    fn in_kernel(&self) -> bool {
        self.decides() || self.host_scale() as f32 != 1.0
    }

    /// The host's part of the factor on gradients. A dynamic loss scale is the device's part.
    pub(crate) fn host_scale(&self) -> f64 {
        let scale = if let LossScale::Fixed(scale) = self.options.loss_scale { scale } else { 1.0 };
        1.0 / (scale * f64::from(self.options.accumulate))
    }
}
