//! Gradient control: setting it, and what the outside may say of a step.

use crate::control::Control;
use crate::control::controller::Controller;
use crate::control::question::Question;
use crate::control::skipped::Counts;
use crate::device::gpu::Gpu;
use crate::error::Error;
use crate::error::tensor::TensorLabel;
use crate::optimizer::WgpuAdam;
use crate::options::gradient_control::{GradientControl, LossScale};
use crate::tensors::tensor::TensorBuffer;

impl WgpuAdam {
    /// Sets what is done with gradients, from the next recorded step on.
    ///
    /// A dynamic loss scale begins at its `init_scale` unless the last control had a dynamic one with the same `init_scale`: then
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
            (LossScale::Dynamic { init_scale, .. }, LossScale::Dynamic { init_scale: first, .. }) => {
                init_scale == first
            }
            (LossScale::None, LossScale::None) => true,
            _ => false,
        };
        let needs = control.max_norm.is_some()
            || control.measure_norm
            || control.skips()
            || control.loss_scale != LossScale::None;
        self.try_control(
            needs || self.control.found_inf.is_some(),
            |own| own.options = control,
            |adam| {
                if goes_on { Ok(()) } else { adam.control.begin_scale(&adam.stepper.gpu, control.loss_scale, encoder) }
            },
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
            self.control.controller = Some(Controller::new(&self.stepper.gpu, &self.stepper.kernels)?);
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
            if !is_planned {
                self.stepper.set_stale();
            }
        })
    }

    /// What is done with gradients.
    #[must_use]
    pub fn gradient_control(&self) -> &GradientControl {
        &self.control.options
    }

    /// Lets something outside say that a step is to be skipped, as torch's fused step takes `found_inf`: an f32 that is
    /// not 0 skips. It is copied in each recorded step, in the order of the encoder; the buffer needs `COPY_SRC`.
    /// [`set_found_inf_to_none`](Self::set_found_inf_to_none) takes it back. Skipping for gradients that are not finite is [`GradientControl::skip_nonfinite`]'s.
    ///
    /// # Errors
    /// A buffer too small, without `COPY_SRC`, at an offset that is no multiple of 4, of another device (in a browser,
    /// [`ready`](Self::ready) tells); no memory; a lost device. What was in force stays so.
    pub fn set_found_inf(&mut self, found_inf: impl Into<TensorBuffer>) -> Result<(), Error> {
        let found_inf = found_inf.into();
        found_inf.check(1, wgpu::BufferUsages::COPY_SRC, || TensorLabel::other("found_inf"))?;
        self.try_control(true, |own| own.found_inf = Some(found_inf.clone()), |adam| adam.check_found_inf(&found_inf))
    }

    /// Takes `found_inf` back: nothing outside says any more that a step is to be skipped.
    ///
    /// # Errors
    /// No memory; a lost device. The buffer stays in force then.
    pub fn set_found_inf_to_none(&mut self) -> Result<(), Error> {
        self.try_control(false, |own| own.found_inf = None, |_| Ok(()))
    }

    /// Where the loss scale lies, as f32 at offset 0, for the backward pass to bind as a uniform or a storage buffer, 16
    /// bytes of it: a submitted step has changed it for what is recorded behind. None until a control with a loss scale,
    /// with clipping or skipping was set. To be read only.
    #[must_use]
    pub fn loss_scale_buffer(&self) -> Option<&wgpu::Buffer> {
        self.control.controller.as_ref().map(|controller| &controller.state)
    }

    /// Whether steps can copy it: a copy that is never submitted tells, where it would spoil the caller's encoder.
    fn check_found_inf(&self, found_inf: &TensorBuffer) -> Result<(), Error> {
        let Some(controller) = &self.control.controller else { return Ok(()) };
        let Gpu { device, guard, .. } = &self.stepper.gpu;
        guard.run("the copy of found_inf", || {
            let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            controller.record_found_inf(&mut encoder, found_inf);
            drop(encoder.finish());
        })
    }

    /// Lets the host's step counts be those of the device again.
    pub(super) fn forget_skips(&mut self, renewed: Option<Counts>) {
        if let Some((controller, renewed)) = self.control.controller.as_mut().zip(renewed) {
            controller.skipped = renewed;
            controller.question = Question::default();
            (self.control.device_steps, self.control.is_parted) = (false, false);
            self.stepper.drop_bound_control();
        }
    }
}
