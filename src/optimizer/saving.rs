//! `state_dict`: the state copied to the host.

use crate::error::Error;
use crate::optimizer::WgpuAdam;
use crate::options::grad_scaler::Words;
use crate::planes::Plane;
use crate::registry::group::ParamId;
use crate::state_dict::received::{Decided, Moments};
use crate::state_dict::{StateDict, StateGroup, TensorState};
use crate::transfer::readback::{Readback, STATE, Source};

impl WgpuAdam {
    /// The optimizer's state on the host, as torch's `state_dict()`.
    ///
    /// The state is copied when this is called, by a submit of its own, behind all that was submitted before; the future
    /// waits for the copy and borrows nothing. Native: the future polls the device itself.
    ///
    /// A state of up to the [staging size](Self::set_staging_size) is copied at once, and later steps do not disturb it.
    /// A larger one goes through staging buffers of that size again and again while the future is awaited; until the last
    /// of it is copied, steps and [`record_reset_state`](Self::record_reset_state) are refused with
    /// [`StateBeingCopied`](Error::StateBeingCopied). Dropping the future ends that.
    ///
    /// # Errors
    /// [`UnsubmittedSteps`](Error::UnsubmittedSteps) if recorded steps were not submitted before the call (an encoder
    /// that was dropped is not noticed: its steps stay counted); no memory; a lost device.
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

    /// How many bytes of staging buffers the state goes through on its way to the host and back, in
    /// [`state_dict`](Self::state_dict), [`load_state_dict`](Self::load_state_dict) and checkpoints: 64 MiB unless set
    /// here, and at least 4 KiB.
    ///
    /// What fits is copied without making anything wait; see there. Holds for calls to come.
    pub fn set_staging_size(&mut self, bytes: u64) {
        self.copies.staging = bytes.max(4096) / 4 * 4;
    }

    /// An error while what changes the state would spoil a copy of it.
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

    /// Begins to copy what the device alone knows, where it decides whether steps are taken.
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

    /// Begins to copy what lies there, if all recorded steps are submitted.
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

    /// The state dict without values, its moments empty, and the parameter behind each id.
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

    /// Where a plane of a parameter's state lies.
    pub(super) fn plane_sources(&self, param: ParamId, plane: Plane) -> impl Iterator<Item = Source> {
        let parts = self.registry.plane_parts(param.index).filter(move |part| part.plane == plane);
        parts.map(|part| Source { size: part.size(), buffer: part.buffer, offset: part.offset })
    }
}
