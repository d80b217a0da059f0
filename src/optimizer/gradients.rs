//! Gradients: giving them, taking them away, clearing them.

use crate::error::Error;
use crate::optimizer::{WgpuAdam, admission};
use crate::registry::group::ParamId;
use crate::registry::tensor::Tensor;
use crate::tensors::tensor::TensorBuffer;

/// How [`record_zero_grad`](WgpuAdam::record_zero_grad) zeros. There is no default: torch's own changed with 2.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZeroGrad {
    /// Fills with zeros: torch's `set_to_none=False`. A later step still counts, decays weights and coasts on moments.
    Fill,
    /// Takes the gradients away: torch's `set_to_none=True`. Steps pass the parameters over until
    /// [`set_grad`](WgpuAdam::set_grad).
    SetToNone,
}

impl WgpuAdam {
    /// Zeros all gradients.
    ///
    /// `Fill` records clears into the encoder, neighbours as one; buffers of gradients then need the usage `COPY_DST`.
    /// `SetToNone` records nothing and holds from the next recorded step on; the buffers' handles are let go at that
    /// step.
    ///
    /// # Errors
    /// A gradient buffer without `COPY_DST`; nothing is recorded then.
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

    /// Gives a parameter a gradient, or another one, from the next recorded step on.
    ///
    /// Giving back the buffer that it had costs nothing; other changes make the next step plan anew.
    ///
    /// # Errors
    /// An id of another optimizer or of a removed parameter; a buffer too small, without `STORAGE`, at an offset that is no multiple of 4; a range
    /// that overlaps a parameter.
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

    /// Takes a parameter's gradient away: from the next recorded step on, steps pass the parameter over.
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
