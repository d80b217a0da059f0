//! The dynamic loss scale in state dicts: `torch.amp.GradScaler`'s state.

use super::{Control, LossScale, check, check_growth, positive};
use crate::Error;
use crate::gpu::Gpu;

/// What `torch.amp.GradScaler.state_dict()` holds: a [`LossScale::Dynamic`] and how far it has come. In torch it is an
/// object beside the optimizer; here it is a part of the [`StateDict`](crate::StateDict).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GradScalerState {
    /// The scale. Above 0 and finite as an f32, and so is its reciprocal.
    pub scale: f64,
    /// As in [`LossScale::Dynamic`].
    pub growth_factor: f64,
    /// As in [`LossScale::Dynamic`].
    pub backoff_factor: f64,
    /// As in [`LossScale::Dynamic`].
    pub growth_interval: u32,
    /// torch's `_growth_tracker`: steps taken in a row since the scale last changed. Below 2^31, as torch counts.
    pub growth_tracker: u32,
}

const WHAT: &str = "the loss scale";

/// The scale and its growth tracker: the beginning of the device's state.
pub(crate) type Words = [u32; 2];

impl GradScalerState {
    /// A scale of these options as the device knows it; none if it has backed off so far that no gradient can be divided by
    /// it.
    pub(crate) fn told(options: LossScale, [scale, growth_tracker]: Words) -> Option<Self> {
        let LossScale::Dynamic { growth_factor, backoff_factor, growth_interval, .. } = options else { return None };
        let scale = f32::from_bits(scale).into();
        let told = Self { scale, growth_factor, backoff_factor, growth_interval, growth_tracker };
        told.validate().is_ok().then_some(told)
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

    fn words(&self) -> Words {
        [(self.scale as f32).to_bits(), self.growth_tracker]
    }
}

impl Control {
    /// Goes on from where a saved scale was; keeps it for later where no dynamic scale is in force. A dict without one
    /// leaves the scale in force alone.
    pub(crate) fn load_scaler(&mut self, gpu: &Gpu, saved: Option<GradScalerState>) -> Result<(), Error> {
        let LossScale::Dynamic { growth_factor, backoff_factor, growth_interval, .. } = &mut self.options.loss_scale
        else {
            self.kept_scaler = saved;
            return Ok(());
        };
        let Some(saved) = saved else { return Ok(()) };
        (*growth_factor, *backoff_factor) = (saved.growth_factor, saved.backoff_factor);
        *growth_interval = saved.growth_interval;
        self.write_scale(gpu, saved.words())
    }

    /// Begins with the scale that these options begin with: with one that was loaded before, if they are dynamic.
    pub(crate) fn begin_scale(
        &mut self,
        gpu: &Gpu,
        options: LossScale,
        encoder: Option<&mut wgpu::CommandEncoder>,
    ) -> Result<(), Error> {
        let dynamic = matches!(options, LossScale::Dynamic { .. });
        let kept = self.kept_scaler.filter(|_| dynamic);
        let words = kept.map_or_else(|| [(options.first() as f32).to_bits(), 0], |kept| kept.words());
        match encoder {
            Some(encoder) => self.record_scale(gpu, words, encoder)?,
            None => self.write_scale(gpu, words)?,
        }
        if dynamic {
            self.kept_scaler = None;
        }
        Ok(())
    }

    /// By the queue: before the next submit.
    fn write_scale(&self, gpu: &Gpu, words: Words) -> Result<(), Error> {
        let Some(controller) = &self.controller else { return Ok(()) };
        let bytes = bytemuck::bytes_of(&words);
        gpu.guard.run(WHAT, || gpu.queue.write_buffer(&controller.state, 0, bytes))
    }

    /// By an encoder, from a buffer that nothing else writes to.
    fn record_scale(&self, gpu: &Gpu, words: Words, encoder: &mut wgpu::CommandEncoder) -> Result<(), Error> {
        let Some(controller) = &self.controller else { return Ok(()) };
        let bytes = bytemuck::bytes_of(&words);
        let staged = gpu.guard.run(WHAT, || {
            let staged = gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("wgpu_adam.control.loss_scale"),
                size: bytes.len() as u64,
                usage: wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            gpu.queue.write_buffer(&staged, 0, bytes);
            staged
        })?;
        encoder.copy_buffer_to_buffer(&staged, 0, &controller.state, 0, Some(bytes.len() as u64));
        Ok(())
    }
}
