//! Gradients: setting, removing and zeroing them.

use crate::error::Error;
use crate::optimizer::{WgpuAdam, admission};
use crate::registry::group::ParamId;
use crate::registry::tensor::Tensor;
use crate::tensors::tensor::TensorBuffer;

/// How [`record_zero_grad`](WgpuAdam::record_zero_grad) zeros gradients. There is no default, because torch's changed
/// in 2.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZeroGrad {
    /// Fills gradients with zeros: torch's `set_to_none=False`. Later steps still count, decay weights, and move
    /// parameters by their moments.
    Fill,
    /// Removes the gradients: torch's `set_to_none=True`. Steps leave the parameters out until
    /// [`set_grad`](WgpuAdam::set_grad).
    SetToNone,
}

impl WgpuAdam {
    /// Zeros all gradients, by recording clears or by removing the gradients.
    ///
    /// `Fill` records clears into the encoder, one for all gradients that are neighbours. Buffers of gradients then
    /// need the usage `COPY_DST`. `SetToNone` records nothing and takes effect at the next recorded step, which also
    /// drops the buffers' handles.
    ///
    /// Needed where a backward pass adds to gradients. One that overwrites them needs none.
    ///
    /// # Errors
    /// A gradient's buffer without `COPY_DST`. Nothing is recorded then.
    pub fn record_zero_grad(&mut self, encoder: &mut wgpu::CommandEncoder, mode: ZeroGrad) -> Result<(), Error> {
        match mode {
            ZeroGrad::Fill => {
                self.stepper.clears(&self.registry)?.iter().for_each(|clear| clear.record(encoder));
            }
            ZeroGrad::SetToNone => {
                for number in 0..self.registry.next_number() {
                    self.registry.set_grad(number, None);
                }
                self.stepper.tensors_changed();
            }
        }
        Ok(())
    }

    /// Sets a parameter's gradient, from the next recorded step on.
    ///
    /// Setting the buffer that it already had costs nothing. Any other change makes the next step plan anew.
    ///
    /// # Errors
    /// An id of another optimizer or of a removed parameter; a buffer too small, without `STORAGE`, or at an offset
    /// that is not a multiple of 4; a range that overlaps a parameter.
    pub fn set_grad(&mut self, id: ParamId, grad: impl Into<TensorBuffer>) -> Result<(), Error> {
        let tensor = self.tensor(id)?.clone();
        let spot = admission::grad(&self.stepper, &mut self.registry, &tensor, id.index, &grad.into());
        let spot = spot.and_then(|spot| self.registry.check_grad(id.index, spot).map(|()| spot));
        let spot = spot.inspect_err(|_| self.registry.release_buffers())?;
        if tensor.grad != Some(spot) {
            self.registry.set_grad(id.index, Some(spot));
            self.stepper.tensors_changed();
        }
        Ok(())
    }

    /// Removes a parameter's gradient: from the next recorded step on, steps leave the parameter out.
    ///
    /// # Errors
    /// An id of another optimizer or of a removed parameter.
    pub fn set_grad_to_none(&mut self, id: ParamId) -> Result<(), Error> {
        if self.tensor(id)?.grad.is_some() {
            self.registry.set_grad(id.index, None);
            self.stepper.tensors_changed();
        }
        Ok(())
    }

    pub(super) fn tensor(&self, id: ParamId) -> Result<&Tensor, Error> {
        let own = self.registry.tensor(id.index).filter(|_| id.optimizer == self.id);
        own.ok_or(Error::NoSuchParam)
    }

    pub(super) fn tensor_mut(&mut self, id: ParamId) -> Result<&mut Tensor, Error> {
        let own = self.registry.tensor_mut(id.index).filter(|_| id.optimizer == self.id);
        own.ok_or(Error::NoSuchParam)
    }
}
