//! Gradients: giving them, taking them away, clearing them.

use crate::error::Error;
use crate::optimizer::WgpuAdam;
use crate::record::clears::Clear;
use crate::registry::Tensor;
use crate::registry::group::ParamId;
use crate::sort::sort_by;
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
                for clear in self.clears()? {
                    encoder.clear_buffer(&clear.buffer, clear.offset, Some(clear.size));
                }
            }
            ZeroGrad::SetToNone => {
                for number in 0..self.registry.next_number() {
                    self.registry.set_grad(number, None);
                }
                self.grads_changed();
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
        let spot = self.admit_grad(&tensor, id.index, &grad.into());
        let spot = spot.and_then(|spot| self.registry.check_grad(id.index, spot).map(|()| spot));
        let spot = spot.inspect_err(|_| self.release_buffers())?;
        if tensor.grad != Some(spot) {
            self.registry.set_grad(id.index, Some(spot));
            self.grads_changed();
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
            self.grads_changed();
        }
        Ok(())
    }

    pub(crate) fn grads_changed(&mut self) {
        self.stale = true;
        self.clears = None;
    }

    /// What filling with zeros clears; an error if it cannot.
    pub(crate) fn clears(&mut self) -> Result<&[Clear], Error> {
        let clears = match self.clears.take() {
            Some(clears) => clears,
            None => self.plan_clears()?,
        };
        Ok(self.clears.insert(clears))
    }

    /// The ranges of all gradients, neighbours merged, over an arena's padding too.
    fn plan_clears(&self) -> Result<Vec<Clear>, Error> {
        let mut ranges: Vec<(u32, u64, u64)> = Vec::new();
        for (index, tensor) in self.registry.tensors() {
            let Some(grad) = tensor.grad else { continue };
            let Some(buffer) = self.buffers.get(grad.place.buffer) else { continue };
            let (usage, missing) = (buffer.usage(), wgpu::BufferUsages::COPY_DST);
            if !usage.contains(missing) {
                return Err(Error::BufferUsage { tensor: tensor.describe_grad(index), missing, usage });
            }
            let end = grad.place.start + tensor.length + grad.padding;
            ranges.push((grad.place.buffer, grad.place.start, end));
        }
        sort_by(&mut ranges, Ord::cmp);
        let mut merged: Vec<(u32, u64, u64)> = Vec::new();
        for (buffer, start, end) in ranges.into_iter().filter(|(_, start, end)| start < end) {
            match merged.last_mut() {
                Some(last) if last.0 == buffer && start <= last.2 => last.2 = last.2.max(end),
                _ => merged.push((buffer, start, end)),
            }
        }
        let clear = |(buffer, start, end): (u32, u64, u64)| {
            let buffer = self.buffers.get(buffer)?.clone();
            Some(Clear { buffer, offset: start * 4, size: (end - start) * 4 })
        };
        Ok(merged.into_iter().filter_map(clear).collect())
    }

    pub(crate) fn tensor(&self, id: ParamId) -> Result<&Tensor, Error> {
        let own = self.registry.tensor(id.index).filter(|_| id.optimizer == self.number);
        own.ok_or(Error::NoSuchParam)
    }

    pub(crate) fn tensor_mut(&mut self, id: ParamId) -> Result<&mut Tensor, Error> {
        let own = self.registry.tensor_mut(id.index).filter(|_| id.optimizer == self.number);
        own.ok_or(Error::NoSuchParam)
    }
}
