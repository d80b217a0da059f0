//! Models that grow and shrink: replacing parameters, resetting and defragmenting their state. All on the GPU.

use std::collections::HashMap;

use crate::error::Error;
use crate::error::tensor::TensorLabel;
use crate::optimizer::{WgpuAdam, admission};
use crate::planes::{Plane, Planes};
use crate::registry::Registry;
use crate::registry::group::ParamId;
use crate::registry::state::PlanePart;
use crate::tensors::tensor::{Param, TensorBuffer};

/// What happens to a parameter's moments when it is replaced.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Moments {
    /// Moments and step count continue. The first elements keep their moments, up to the shorter of the old and the new
    /// length. Further elements begin at zero.
    Keep,
    /// Moments begin at zero, with step count 0.
    Clear,
    /// Moments are copied from these buffers, which have the new length and the usage `COPY_SRC`. The step count
    /// continues. For models that the caller's own shaders prune, split or reorder: such a pass may be recorded into the
    /// same encoder, before the replacement. The buffers may be dropped after the call.
    From {
        /// The new `exp_avg`.
        exp_avg: TensorBuffer,
        /// The new `exp_avg_sq`.
        exp_avg_sq: TensorBuffer,
        /// The new `max_exp_avg_sq`. Required if the parameter has one.
        max_exp_avg_sq: Option<TensorBuffer>,
    },
}

/// A copy of elements of state. Numbers are in bytes.
struct Copy {
    from: wgpu::Buffer,
    from_offset: u64,
    to: wgpu::Buffer,
    to_offset: u64,
    size: u64,
}

impl WgpuAdam {
    /// Replaces a parameter's tensor by another, of any shape, and records the copies of its moments. Its id and group
    /// stay; its name is that of the new tensor.
    ///
    /// Allocates state for the new tensor. The copies take place in the order of recording: after steps recorded
    /// before, and before steps recorded later. The encoder must be submitted, or the moments are lost. No data passes
    /// through the host.
    ///
    /// # Errors
    /// As for [`WgpuAdam::new`], for the new tensor; moments of the wrong length or usage. Nothing is recorded then.
    pub fn record_replace_param(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        id: ParamId,
        param: Param,
        moments: Moments,
    ) -> Result<(), Error> {
        self.record_replace_params(encoder, [(id, param, moments)])
    }

    /// Replaces several parameters at once, like [`record_replace_param`](Self::record_replace_param). Those that are
    /// adjacent, for example in a new arena, are then stepped as one.
    ///
    /// # Errors
    /// As for [`record_replace_param`](Self::record_replace_param); an id given twice. Either all are replaced, or
    /// none.
    pub fn record_replace_params(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        replacements: impl IntoIterator<Item = (ParamId, Param, Moments)>,
    ) -> Result<(), Error> {
        let mut draft = self.registry.clone();
        let mut moved: HashMap<ParamId, (Vec<PlanePart>, Moments)> = HashMap::new();
        let mut added = Vec::new();
        for (id, param, moments) in replacements {
            let old = self.tensor(id)?.clone();
            let mut new = admission::param(&self.stepper, &mut draft, param, Some(id.index), old.group)?;
            new.step = if moments == Moments::Clear { 0 } else { old.step };
            new.is_fresh = moments == Moments::Clear || (moments == Moments::Keep && old.is_fresh);
            new.keep_history(&old);
            let planes = self.registry.planes_of(id.index);
            moments.check(new.length, planes, &new.describe(id.index))?;
            draft.take(id.index);
            added.push((id.index, planes, new));
            if moved.insert(id, (self.parts(id), moments)).is_some() {
                return Err(Error::ReplacedTwice { tensor: old.describe(id.index) });
            }
        }
        let stateless: Vec<(u32, Planes)> = added.iter().map(|(number, planes, _)| (*number, *planes)).collect();
        for (number, _, tensor) in added {
            draft.put(number, tensor)?;
        }
        draft.add_state(&self.stepper.gpu, &self.stepper.limits, &stateless)?;
        self.check_copies(&draft, &moved)?;
        self.commit(draft)?;
        for (id, (old, moments)) in moved {
            if moments == Moments::Clear {
                self.clear_skips(encoder, id);
            }
            for copy in moments.copies(&old, &self.parts(id)) {
                copy.record(encoder);
            }
        }
        Ok(())
    }

    /// Checks whether the device can copy the given moments, which may be in buffers of another device. Does so with
    /// copies that are never submitted: in the caller's encoder, the error would spoil the encoder.
    fn check_copies(&self, draft: &Registry, moved: &HashMap<ParamId, (Vec<PlanePart>, Moments)>) -> Result<(), Error> {
        for (id, (old, moments)) in moved.iter().filter(|(_, (_, moments))| matches!(moments, Moments::From { .. })) {
            let new: Vec<PlanePart> = draft.plane_parts(id.index).collect();
            self.stepper.gpu.guard.run(&format!("the copy of the moments of {}", draft.describe(id.index)), || {
                let mut encoder =
                    self.stepper.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
                for copy in moments.copies(old, &new) {
                    copy.record(&mut encoder);
                }
                drop(encoder.finish());
            })?;
        }
        Ok(())
    }

    /// Records copies that bring the state of neighbours together, so that they are stepped as one, and frees memory
    /// that removed and replaced parameters have left. Useful after parameters were added while others had taken steps;
    /// otherwise does nothing.
    ///
    /// Allocates new state. The copies take place in the order of recording. The encoder must be submitted, or the
    /// moments are lost. No data passes through the host. [`state`](Self::state) returns other places from then on.
    ///
    /// # Errors
    /// [`StateBeingCopied`](Error::StateBeingCopied); out of memory; a lost device. Nothing is recorded then.
    pub fn record_defragment(&mut self, encoder: &mut wgpu::CommandEncoder) -> Result<(), Error> {
        self.check_not_copied()?;
        let scattered = self.registry.scattered(false, &self.stepper.limits);
        if scattered.is_empty() {
            return Ok(());
        }
        let parts = |registry: &Registry, number: u32| registry.plane_parts(number).collect::<Vec<_>>();
        let old: Vec<_> = scattered.iter().map(|(number, _)| parts(&self.registry, *number)).collect();
        let mut draft = self.registry.clone();
        draft.add_state(&self.stepper.gpu, &self.stepper.limits, &scattered)?;
        self.commit(draft)?;
        for ((number, _), old) in scattered.iter().zip(&old) {
            for copy in Moments::Keep.copies(old, &parts(&self.registry, *number)) {
                copy.record(encoder);
            }
        }
        Ok(())
    }

    /// Restarts a parameter: sets its step count to 0 and records clears of its moments, in the order of recording.
    ///
    /// # Errors
    /// An id of another optimizer or of a removed parameter; [`StateBeingCopied`](Error::StateBeingCopied).
    pub fn record_reset_state(&mut self, encoder: &mut wgpu::CommandEncoder, id: ParamId) -> Result<(), Error> {
        self.check_not_copied()?;
        self.tensor(id)?;
        for part in self.registry.plane_parts(id.index) {
            encoder.clear_buffer(&part.buffer, part.offset, Some(part.size()));
        }
        self.tensor_mut(id)?.step = 0;
        self.clear_skips(encoder, id);
        self.stepper.set_stale();
        Ok(())
    }

    /// Restarts all parameters, as [`record_reset_state`](Self::record_reset_state) restarts one: a new run with the
    /// pipelines and buffers of the old one. The loss scale and the statistics continue.
    ///
    /// # Errors
    /// [`StateBeingCopied`](Error::StateBeingCopied). Nothing is recorded then.
    pub fn record_reset_all(&mut self, encoder: &mut wgpu::CommandEncoder) -> Result<(), Error> {
        let ids: Vec<ParamId> = self.params().collect();
        ids.into_iter().try_for_each(|id| self.record_reset_state(encoder, id))
    }

    /// Returns where a parameter's state lies, for copies that are recorded at once. The caller does not see the place,
    /// so the window is not lent.
    fn parts(&self, id: ParamId) -> Vec<PlanePart> {
        self.registry.plane_parts(id.index).collect()
    }

    /// Clears a restarted parameter's count of skipped steps.
    fn clear_skips(&self, encoder: &mut wgpu::CommandEncoder, id: ParamId) {
        if let Some(controller) = &self.control.controller {
            controller.skipped.clear(encoder, id.index);
        }
    }
}

impl Copy {
    fn record(&self, encoder: &mut wgpu::CommandEncoder) {
        let Self { from, from_offset, to, to_offset, size } = self;
        encoder.copy_buffer_to_buffer(from, *from_offset, to, *to_offset, Some(*size));
    }
}

impl Moments {
    /// Returns the buffer given for a plane.
    fn given(&self, plane: Plane) -> Option<&TensorBuffer> {
        match (self, plane) {
            (Self::From { exp_avg, .. }, Plane::ExpAvg) => Some(exp_avg),
            (Self::From { exp_avg_sq, .. }, Plane::ExpAvgSq) => Some(exp_avg_sq),
            (Self::From { max_exp_avg_sq, .. }, Plane::MaxExpAvgSq) => max_exp_avg_sq.as_ref(),
            (Self::Keep | Self::Clear, _) => None,
        }
    }

    /// Checks that given moments fit a tensor whose state has these planes.
    fn check(&self, length: u64, planes: Planes, tensor: &TensorLabel) -> Result<(), Error> {
        if !matches!(self, Self::From { .. }) {
            return Ok(());
        }
        for plane in Plane::ALL {
            let what = || tensor.part(plane.key());
            match self.given(plane) {
                Some(buffer) => buffer.check(length, wgpu::BufferUsages::COPY_SRC, what)?,
                None if planes.has(plane) => return Err(Error::MissingMoments { tensor: tensor.clone() }),
                None => {}
            }
        }
        Ok(())
    }

    /// Returns the copies that bring a parameter's moments from its old state to its new state, which is all zeros.
    fn copies(&self, old: &[PlanePart], new: &[PlanePart]) -> Vec<Copy> {
        match self {
            Self::Clear => Vec::new(),
            Self::Keep => new.iter().flat_map(|to| old.iter().filter_map(|from| from.copy_to(to))).collect(),
            Self::From { .. } => {
                let copy = |to: &PlanePart| {
                    let given = self.given(to.plane)?;
                    Some(Copy {
                        from: given.buffer().clone(),
                        from_offset: given.offset() + to.plane.format().bytes(to.start),
                        to: to.buffer.clone(),
                        to_offset: to.offset,
                        size: to.size(),
                    })
                };
                new.iter().filter_map(copy).collect()
            }
        }
    }
}

impl PlanePart {
    /// Returns the copy of the elements that both parts have, if both belong to one plane.
    fn copy_to(&self, to: &Self) -> Option<Copy> {
        let start = self.start.max(to.start);
        let end = (self.start + self.length).min(to.start + to.length);
        let bytes = |elements| self.plane.format().bytes(elements);
        (self.plane == to.plane && start < end).then(|| Copy {
            from: self.buffer.clone(),
            from_offset: self.offset + bytes(start - self.start),
            to: to.buffer.clone(),
            to_offset: to.offset + bytes(start - to.start),
            size: bytes(end - start),
        })
    }
}
