//! Setting gradient control, and lending the buffer by which the caller makes steps skip.

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
    /// Sets what happens to gradients, from the next recorded step on. Submits nothing.
    ///
    /// A dynamic loss scale begins at its `init_scale`. If the last control had a dynamic scale with the same
    /// `init_scale`, scale and growth tracker continue. They also continue from a state dict that was loaded while no
    /// dynamic scale was in force.
    ///
    /// The first control that clips by norm, measures the norm or skips steps creates some small buffers and compiles
    /// two more kinds of shader. From then on, the device counts the steps that may be skipped. Tensors that have
    /// missed different steps share no run until the device has reported how many steps each has skipped. The moment of
    /// that report depends on when the application polls. So the last bit of a clipping norm may depend on it, and with
    /// the norm the gradients that it clips.
    ///
    /// The queue writes a new scale to its [buffer](Self::loss_scale_buffer) before the next submit. That is before
    /// everything that is recorded and not yet submitted: such a backward pass would read the new scale, and its step
    /// would divide by the old one. While anything is recorded and not submitted, use
    /// [`record_gradient_control`](Self::record_gradient_control).
    ///
    /// # Errors
    /// An option out of range, [`InvalidOption`](Error::InvalidOption); a device with too small limits; out of memory;
    /// a lost device. The old control then stays in force.
    pub fn set_gradient_control(&mut self, control: GradientControl) -> Result<(), Error> {
        self.change_control(control, None)
    }

    /// Like [`set_gradient_control`](Self::set_gradient_control), in the order of recording. The encoder writes a new
    /// scale: after the steps recorded before, and before the backward passes recorded later. If the encoder is never
    /// submitted, the buffer keeps the old scale.
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

    /// Changes the control and creates everything that the next step needs for it, then calls `then`. If any of this
    /// fails, everything is as it was.
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

    /// Returns what happens to gradients.
    #[must_use]
    pub fn gradient_control(&self) -> &GradientControl {
        &self.control.options
    }

    /// Makes steps skip while this buffer holds an f32 other than 0, as `found_inf` does in torch's fused step.
    ///
    /// Each recorded step copies the number, in the encoder's order.
    /// [`set_found_inf_to_none`](Self::set_found_inf_to_none) removes the buffer. To skip steps whose gradients are not
    /// finite, set [`GradientControl::skip_nonfinite`].
    ///
    /// # Errors
    /// A buffer too small, without `COPY_SRC`, at an offset that is not a multiple of 4, or of another device (which
    /// [`ready`](Self::ready) reports in a browser); out of memory; a lost device. The old buffer, or none, then stays
    /// in force.
    pub fn set_found_inf(&mut self, found_inf: impl Into<TensorBuffer>) -> Result<(), Error> {
        let found_inf = found_inf.into();
        found_inf.check(1, wgpu::BufferUsages::COPY_SRC, || TensorLabel::other("found_inf"))?;
        self.try_control(true, |own| own.found_inf = Some(found_inf.clone()), |adam| adam.check_found_inf(&found_inf))
    }

    /// Removes the buffer of [`set_found_inf`](Self::set_found_inf): only gradients can make steps skip from the next
    /// recorded step on.
    ///
    /// # Errors
    /// Out of memory; a lost device. The buffer then stays in force.
    pub fn set_found_inf_to_none(&mut self) -> Result<(), Error> {
        self.try_control(false, |own| own.found_inf = None, |_| Ok(()))
    }

    /// Returns the buffer that holds the loss scale, as an f32 at offset 0. The backward pass binds 16 bytes of it as a
    /// uniform or a storage buffer. Work recorded after a step reads the scale that this step leaves. `None` until a
    /// control with a loss scale, with a norm that is clipped or measured, or with skipping was set, or a `found_inf`.
    /// Do not write to it.
    #[must_use]
    pub fn loss_scale_buffer(&self) -> Option<&wgpu::Buffer> {
        self.control.controller.as_ref().map(|controller| &controller.state)
    }

    /// Checks whether steps can copy the buffer, with a copy that is never submitted. In the caller's encoder, the
    /// error would spoil the encoder.
    fn check_found_inf(&self, found_inf: &TensorBuffer) -> Result<(), Error> {
        let Some(controller) = &self.control.controller else { return Ok(()) };
        let Gpu { device, guard, .. } = &self.stepper.gpu;
        guard.run("the copy of found_inf", || {
            let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            controller.record_found_inf(&mut encoder, found_inf);
            drop(encoder.finish());
        })
    }

    /// Replaces the device's counts of skipped steps by new ones, all zero, so that the host's step counts are exact
    /// again.
    pub(super) fn forget_skips(&mut self, renewed: Option<Counts>) {
        if let Some((controller, renewed)) = self.control.controller.as_mut().zip(renewed) {
            controller.skipped = renewed;
            controller.question = Question::default();
            (self.control.device_steps, self.control.is_parted) = (false, false);
            self.stepper.drop_bound_control();
        }
    }
}
