//! What happens to gradients between backward and step, decided on the GPU: clipping, loss scaling, skipped steps.
//!
//! - [`request`]: what the host asks of control.wgsl for a recorded step.
//! - [`controller`]: what lives on the device from step to step; [`counts`]: of that, the steps each tensor did not take.
//! - [`question`]: how the host learns these, for tensors that have not all stepped together.
//! - [`scaler`]: the dynamic loss scale in state dicts.
//! - [`bound`]: what a plan needs besides, to measure its gradients and to have its hyper blocks made.

pub(crate) mod bound;
pub(crate) mod controller;
pub(crate) mod counts;
pub(crate) mod question;
pub(crate) mod request;
pub(crate) mod scaler;

use crate::Error;
use crate::optimizer::WgpuAdam;
use crate::tensor::TensorBuffer;
use controller::Controller;
use counts::Counts;
use question::Question;

pub use scaler::GradScalerState;

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
/// let control = GradientControl { clip_norm: Some(1.0), loss_scale: LossScale::dynamic(), ..Default::default() };
/// assert_eq!(control.accumulate, 1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GradientControl {
    /// Scales all gradients of the optimizer, all groups together, by min(1, clip_norm / (norm + 1e-6)), as torch's
    /// `clip_grad_norm_`. Above 0 and finite after rounding to f32; torch allows 0 as well, which would turn every
    /// gradient to zero and let parameters coast: give no gradients instead. Default: none.
    ///
    /// Squares neither overflow nor vanish: a norm is right from 1e-38 to 3e38, where torch's f32 sums would be infinite
    /// from 1.8e19 on. As in torch, a NaN makes all gradients NaN and an infinite one leaves zeros and NaN, unless such
    /// steps are skipped.
    pub clip_norm: Option<f64>,
    /// Which norm is clipped and told. Default: two, torch's.
    pub norm_type: NormType,
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
    /// [`record_zero_grad`](WgpuAdam::record_zero_grad) with `Fill` would. Default: false.
    pub zero_grad_after_step: bool,
}

impl Default for GradientControl {
    /// Nothing: gradients are used as they are.
    fn default() -> Self {
        Self {
            clip_norm: None,
            norm_type: NormType::Two,
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
pub enum NormType {
    /// The root of the sum of squares.
    #[default]
    Two,
    /// The largest magnitude.
    Infinity,
}

/// What the loss was multiplied by before the backward pass, so that small gradients do not vanish in f16.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum LossScale {
    /// By nothing.
    #[default]
    None,
    /// By this: above 0 and finite, and small enough that an f32 holds 1 / (scale * [`accumulate`](GradientControl::accumulate))
    /// without becoming denormal.
    Fixed(f64),
    /// By a scale that lives on the device, in [`loss_scale_buffer`](WgpuAdam::loss_scale_buffer), by the rules of
    /// `torch.amp.GradScaler`: a step whose gradients are not all finite is skipped and multiplies the scale by
    /// `backoff_factor`; `growth_interval` steps in a row without one multiply it by `growth_factor`, unless that is
    /// infinite. Computed in f32. A backward pass in f32 may hardly ever overflow: from 2^127 / `accumulate` on the scale's
    /// reciprocal is denormal, and devices that flush those make zeros of the gradients.
    Dynamic {
        /// The first scale, in the range of a fixed one. torch's default: 65536.
        init: f64,
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
        Self::Dynamic { init: 65536.0, growth_factor: 2.0, backoff_factor: 0.5, growth_interval: 2000 }
    }

    fn first(self) -> f64 {
        match self {
            Self::None => 1.0,
            Self::Fixed(scale) => scale,
            Self::Dynamic { init, .. } => init,
        }
    }
}

/// The options in force, and what they need.
#[derive(Debug, Default)]
pub(crate) struct Control {
    pub options: GradientControl,
    pub found_inf: Option<(wgpu::Buffer, u64)>,
    /// Whether steps were recorded that may have been skipped: the host does not know how many then, and biases are
    /// corrected on the device. Stays so until a state dict is loaded.
    pub device_steps: bool,
    /// Whether tensors have parted for steps of which the device was not asked yet whether it skipped them.
    pub is_parted: bool,
    /// Steps recorded while the device decided.
    pub recorded: u64,
    pub controller: Option<Controller>,
    /// A scale that was loaded while no dynamic one was in force.
    pub kept_scaler: Option<GradScalerState>,
}

impl Control {
    /// Whether the next step may be skipped, or earlier ones may have been.
    pub(crate) fn may_skip(&self) -> bool {
        self.options.skips() || self.found_inf.is_some() || self.device_steps
    }

    /// Whether control.wgsl runs.
    pub(crate) fn decides(&self) -> bool {
        self.options.clip_norm.is_some() || self.may_skip()
    }

    /// Whether the gradients are measured.
    pub(crate) fn measures(&self) -> bool {
        self.options.clip_norm.is_some() || self.options.skips()
    }

    /// By which norm they are measured, if they are.
    pub(crate) fn measured(&self) -> Option<NormType> {
        self.measures().then_some(self.options.norm_type)
    }

    /// What a plan depends on.
    fn bears_on_plan(&self) -> impl PartialEq + use<> {
        (self.decides(), self.measured(), self.may_skip(), self.in_kernel(), self.options.clip_value.is_some())
    }

    /// Whether adam.wgsl heeds `grad_scale` and `skip`.
    pub(crate) fn in_kernel(&self) -> bool {
        self.decides() || self.host_scale() as f32 != 1.0
    }

    /// What the host knows gradients are multiplied by.
    pub(crate) fn host_scale(&self) -> f64 {
        let scale = if let LossScale::Fixed(scale) = self.options.loss_scale { scale } else { 1.0 };
        1.0 / (scale * f64::from(self.options.accumulate))
    }
}

impl GradientControl {
    fn skips(&self) -> bool {
        self.skip_nonfinite || matches!(self.loss_scale, LossScale::Dynamic { .. })
    }

    fn validate(&self) -> Result<(), Error> {
        const POSITIVE: &str = "above 0 and finite, and so after rounding to f32";
        let given = [("clip_norm", self.clip_norm), ("clip_value", self.clip_value)];
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

fn check(option: &'static str, value: f64, within: bool, requirement: &'static str) -> Result<(), Error> {
    if within { Ok(()) } else { Err(Error::InvalidOption { option, group: None, value, requirement }) }
}

fn positive(value: f64) -> bool {
    (value as f32) > 0.0 && (value as f32).is_finite()
}

/// What a dynamic scale grows and backs off by, under these names.
fn check_growth(names: [&'static str; 3], growth: f64, backoff: f64, interval: u32) -> Result<(), Error> {
    let [growth_factor, backoff_factor, growth_interval] = names;
    let grows = (growth as f32) > 1.0 && (growth as f32).is_finite();
    check(growth_factor, growth, grows, "above 1 and finite, and so after rounding to f32")?;
    let backs_off = (backoff as f32) > 0.0 && (backoff as f32) < 1.0;
    check(backoff_factor, backoff, backs_off, "between 0 and 1, and so after rounding to f32")?;
    check(growth_interval, interval.into(), interval >= 1, "at least 1")
}

impl WgpuAdam {
    /// Sets what is done with gradients, from the next recorded step on.
    ///
    /// A dynamic loss scale begins at its `init` unless the last control had a dynamic one with the same `init`: then
    /// scale and growth tracker go on. They go on, too, from a state dict that was loaded while no dynamic scale was in
    /// force. The first control that clips by norm or skips makes some small buffers and compiles two more kinds of shader;
    /// steps that may be skipped are counted on the device from then on. Tensors that have missed different steps share no run
    /// until the device has answered how many each has skipped. That depends on when the application polls, and so may the last
    /// bit of a clipping norm, and of what is clipped by it.
    ///
    /// A scale that begins is written to its [buffer](Self::loss_scale_buffer) by the queue: before the next submit, and so
    /// before all that is recorded and not submitted yet, of which a backward pass would read the new scale and a step
    /// divide by the old. Where something is, [`record_gradient_control`](Self::record_gradient_control) is right.
    ///
    /// # Errors
    /// An option out of range, [`InvalidOption`](Error::InvalidOption); a device opened with too small limits; no memory; a
    /// lost device. What was in force stays so.
    pub fn set_gradient_control(&mut self, control: GradientControl) -> Result<(), Error> {
        self.change_control(control, None)
    }

    /// The same in the order of recording: a scale that begins is written by the encoder, behind the steps recorded before
    /// and before the backward passes recorded later. An encoder that is never submitted leaves the buffer as it was.
    ///
    /// # Errors
    /// As for [`set_gradient_control`](Self::set_gradient_control). Nothing is recorded then.
    pub fn record_gradient_control(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        control: GradientControl,
    ) -> Result<(), Error> {
        self.change_control(control, Some(encoder))
    }

    fn change_control(
        &mut self,
        control: GradientControl,
        encoder: Option<&mut wgpu::CommandEncoder>,
    ) -> Result<(), Error> {
        control.validate()?;
        let old = self.control.options;
        let goes_on = match (old.loss_scale, control.loss_scale) {
            (LossScale::Dynamic { init, .. }, LossScale::Dynamic { init: first, .. }) => init == first,
            (LossScale::None, LossScale::None) => true,
            _ => false,
        };
        let needs = control.clip_norm.is_some() || control.skips() || control.loss_scale != LossScale::None;
        self.try_control(
            needs || self.control.found_inf.is_some(),
            |own| own.options = control,
            |adam| if goes_on { Ok(()) } else { adam.control.begin_scale(&adam.gpu, control.loss_scale, encoder) },
        )
    }

    /// Changes the control, and makes all that the next step needs for it. Where that fails, or what is to follow, all is as
    /// it was.
    fn try_control(
        &mut self,
        needs_controller: bool,
        change: impl FnOnce(&mut Control),
        then: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let makes_controller = needs_controller && self.control.controller.is_none();
        if makes_controller {
            self.control.controller = Some(Controller::new(&self.gpu, &self.kernels)?);
        }
        let (options, found_inf) = (self.control.options, self.control.found_inf.clone());
        let before = self.control.bears_on_plan();
        change(&mut self.control);
        let is_planned = before == self.control.bears_on_plan();
        let changed = if is_planned { Ok(()) } else { self.prepare() };
        changed.and_then(|()| then(self)).inspect_err(|_| {
            (self.control.options, self.control.found_inf) = (options, found_inf);
            if makes_controller {
                self.control.controller = None;
            }
            self.stale |= !is_planned;
        })
    }

    /// What is done with gradients.
    #[must_use]
    pub fn gradient_control(&self) -> &GradientControl {
        &self.control.options
    }

    /// Lets something outside say that a step is to be skipped, as torch's fused step takes `found_inf`: an f32 that is
    /// not 0 skips. It is copied in each recorded step, in the order of the encoder; the buffer needs `COPY_SRC`. None
    /// takes it back. Skipping for gradients that are not finite is [`GradientControl::skip_nonfinite`]'s.
    ///
    /// # Errors
    /// A buffer too small, without `COPY_SRC`, at an offset that is no multiple of 4, of another device (in a browser,
    /// [`ready`](Self::ready) tells); no memory; a lost device. What was in force stays so.
    pub fn set_found_inf(&mut self, found_inf: Option<(&wgpu::Buffer, u64)>) -> Result<(), Error> {
        if let Some((buffer, offset)) = found_inf {
            TensorBuffer::from((buffer, offset)).check(1, wgpu::BufferUsages::COPY_SRC, || "found_inf".into())?;
        }
        let new = found_inf.map(|(buffer, offset)| (buffer.clone(), offset));
        self.try_control(
            new.is_some(),
            |own| own.found_inf.clone_from(&new),
            |adam| found_inf.map_or(Ok(()), |(buffer, offset)| adam.check_found_inf(buffer, offset)),
        )
    }

    /// Where the loss scale lies, as f32 at offset 0, for the backward pass to bind as a uniform or a storage buffer, 16
    /// bytes of it: a submitted step has changed it for what is recorded behind. None until a control with a loss scale,
    /// with clipping or skipping was set. To be read only.
    #[must_use]
    pub fn loss_scale_buffer(&self) -> Option<&wgpu::Buffer> {
        self.control.controller.as_ref().map(|controller| &controller.state)
    }

    /// Whether steps can copy it: a copy that is never submitted tells, where it would spoil the caller's encoder.
    fn check_found_inf(&self, buffer: &wgpu::Buffer, offset: u64) -> Result<(), Error> {
        let Some(controller) = &self.control.controller else { return Ok(()) };
        self.gpu.guard.run("the copy of found_inf", || {
            let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            controller.record_found_inf(&mut encoder, buffer, offset);
            drop(encoder.finish());
        })
    }

    /// Lets the host's step counts be those of the device again.
    pub(crate) fn forget_skips(&mut self, renewed: Option<Counts>) {
        if let Some((controller, renewed)) = self.control.controller.as_mut().zip(renewed) {
            controller.skipped = renewed;
            controller.question = Question::default();
            (self.control.device_steps, self.control.is_parted) = (false, false);
            // Its bind group names the counts that were.
            self.prepared.control = None;
            self.stale = true;
        }
    }
}
