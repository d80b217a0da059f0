//! `state_dict`: copies the state to the host.

use crate::error::Error;
use crate::optimizer::WgpuAdam;
use crate::options::grad_scaler::Words;
use crate::planes::Plane;
use crate::registry::group::ParamId;
use crate::state_dict::received::{Decided, Moments};
use crate::state_dict::{StateDict, StateGroup, TensorState};
use crate::transfer::readback::{Readback, STATE, Source};

impl WgpuAdam {
    /// Submits a copy when it is called, and returns the optimizer's state on the host, as torch's `state_dict()` does.
    ///
    /// The copy comes after everything that was submitted before. The future waits for it and borrows nothing. On
    /// native targets the future polls the device itself.
    ///
    /// State of up to the [staging size](Self::set_staging_size) is copied at once, and later steps do not disturb the
    /// copy. Larger state is copied part by part through staging buffers of that size, while the future is awaited.
    /// Until the last part is copied, steps, [`record_reset_state`](Self::record_reset_state) and
    /// [`record_defragment`](Self::record_defragment) are refused with [`StateBeingCopied`](Error::StateBeingCopied).
    /// Dropping the future ends this.
    ///
    /// # Errors
    /// [`UnsubmittedSteps`](Error::UnsubmittedSteps) if recorded steps were not submitted before the call; out of
    /// memory; a lost device. An encoder that was dropped goes unnoticed: its steps stay counted.
    pub fn state_dict(&self) -> impl Future<Output = Result<StateDict, Error>> + use<> {
        let copy = self.begin_state_dict();
        async move {
            let (mut dict, decided, readback) = copy?;
            decided.apply(&mut dict).await?;
            let mut moments = Moments::of(&mut dict);
            readback.for_each(|bytes| moments.fill(bytes)).await?;
            drop(moments);
            Ok(dict)
        }
    }

    /// Sets the size of the staging buffers in bytes, for later calls. State passes through them to the host and back,
    /// in [`state_dict`](Self::state_dict), [`load_state_dict`](Self::load_state_dict) and checkpoints. Default: 64
    /// MiB; at least 4 KiB.
    ///
    /// State that fits is copied without making anything else wait, as these methods describe.
    pub fn set_staging_size(&mut self, bytes: u64) {
        self.copies.staging = bytes.max(4096) / 4 * 4;
    }

    /// Returns an error while a copy is under way that a change of the state would spoil.
    pub(super) fn check_not_copied(&self) -> Result<(), Error> {
        if self.copies.copying.is_under_way() { Err(Error::StateBeingCopied) } else { Ok(()) }
    }

    fn begin_state_dict(&self) -> Result<(StateDict, Decided, Readback), Error> {
        let (dict, params) = self.outline()?;
        let decided = self.read_decided(&params)?;
        let mut sources = Vec::new();
        for (id, entry) in &dict.state {
            let Some(&param) = params.get(*id as usize) else { continue };
            sources.extend(entry.planes().iter().flat_map(|plane| self.plane_sources(param, plane)));
        }
        Ok((dict, decided, self.read_back(sources)?))
    }

    /// Begins to copy the loss scale and the counts of skipped steps, which only the device knows if it decides whether
    /// steps are taken.
    pub(super) fn read_decided(&self, params: &[ParamId]) -> Result<Decided, Error> {
        let numbers = params.iter().map(|param| param.index).collect();
        let loss_scale = self.control.options.loss_scale;
        let Some(controller) = self.control.controller.as_ref().filter(|_| self.control.may_skip()) else {
            return Ok(Decided::new(numbers, loss_scale, None));
        };
        let scale = Source { buffer: controller.state.clone(), offset: 0, size: size_of::<Words>() as u64 };
        let counts: Vec<Source> = controller.skipped.sources().collect();
        let bytes = counts.iter().map(|source| source.size as usize).collect();
        let copy = self.read_back(std::iter::once(scale).chain(counts).collect())?;
        Ok(Decided::new(numbers, loss_scale, Some((bytes, copy))))
    }

    /// Begins to copy these places to the host, if all recorded steps are submitted.
    pub(super) fn read_back(&self, sources: Vec<Source>) -> Result<Readback, Error> {
        Readback::new(
            &self.stepper.gpu,
            STATE,
            sources,
            self.copies.staging,
            self.stepper.outstanding(),
            &self.copies.copying,
        )
    }

    /// Returns the state dict with empty moments, and the parameter of each id.
    pub(super) fn outline(&self) -> Result<(StateDict, Vec<ParamId>), Error> {
        let mut dict = StateDict { grad_scaler: self.control.kept_scaler, ..Default::default() };
        let mut params: Vec<ParamId> = Vec::new();
        for group in &self.registry.groups {
            let first = params.len() as u64;
            let mut names = Vec::new();
            for &param in group.params() {
                let tensor = self.tensor(param)?;
                names.extend(tensor.name.clone());
                if tensor.step > 0 {
                    let entry =
                        TensorState::new(tensor.step, tensor.shape.clone(), self.registry.planes_of(param.index));
                    dict.state.insert(params.len() as u64, entry);
                }
                params.push(param);
            }
            let names = (!names.is_empty()).then_some(names);
            let saved = StateGroup::new(&group.config, (first..params.len() as u64).collect(), names);
            dict.param_groups.push(StateGroup { extra: group.extra.clone(), ..saved });
        }
        Ok((dict, params))
    }

    /// Returns where a plane of a parameter's state lies.
    pub(super) fn plane_sources(&self, param: ParamId, plane: Plane) -> impl Iterator<Item = Source> {
        let parts = self.registry.plane_parts(param.index).filter(move |part| part.plane == plane);
        parts.map(|part| Source { size: part.size(), buffer: part.buffer, offset: part.offset })
    }
}
