//! The loss scale on the device: how it begins, and how a loaded one is written.

use super::Control;
use crate::device::gpu::Gpu;
use crate::error::Error;
use crate::options::grad_scaler::{GradScalerState, Words};
use crate::options::gradient_control::LossScale;

const WHAT: &str = "the loss scale";

impl Control {
    /// Continues from a saved scale, or keeps it for later if no dynamic scale is in force. A dict without a scale does
    /// not change the scale in force.
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

    /// Sets the scale with which these options begin. If they are dynamic, a scale that was loaded before takes
    /// precedence.
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

    /// Writes the scale through the queue, before the next submit.
    fn write_scale(&self, gpu: &Gpu, words: Words) -> Result<(), Error> {
        let Some(controller) = &self.controller else { return Ok(()) };
        let bytes = bytemuck::bytes_of(&words);
        gpu.guard.run(WHAT, || gpu.queue.write_buffer(&controller.state, 0, bytes))
    }

    /// Writes the scale through an encoder, from a buffer that nothing else writes to.
    fn record_scale(&self, gpu: &Gpu, words: Words, encoder: &mut wgpu::CommandEncoder) -> Result<(), Error> {
        let Some(controller) = &self.controller else { return Ok(()) };
        let bytes = bytemuck::bytes_of(&words);
        let staged = gpu.guard.run(WHAT, || {
            let staged = gpu.buffer(
                "control.loss_scale",
                bytes.len() as u64,
                wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            );
            gpu.queue.write_buffer(&staged, 0, bytes);
            staged
        })?;
        encoder.copy_buffer_to_buffer(&staged, 0, &controller.state, 0, Some(bytes.len() as u64));
        Ok(())
    }
}
