//! `state_dict`: the state copied to the host.

use crate::error::Error;
use crate::optimizer::WgpuAdam;
use crate::options::grad_scaler::Words;
use crate::registry::group::ParamId;
use crate::state_dict::received::{Decided, Moments};
use crate::state_dict::{StateDict, StateGroup, TensorState};
use crate::transfer::readback::{Readback, Source};

/// How large staging buffers are together, unless the application says otherwise.
pub(crate) const STAGING: u64 = 64 << 20;

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
            decided.tell(&mut dict).await?;
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
        self.staging = bytes.max(4096) / 4 * 4;
    }

    /// An error while what changes the state would spoil a copy of it.
    pub(crate) fn check_not_copied(&self) -> Result<(), Error> {
        if self.copying.is_under_way() { Err(Error::StateBeingCopied) } else { Ok(()) }
    }

    fn begin_state_dict(&self) -> Result<(StateDict, Decided, Readback), Error> {
        let (dict, params) = self.outline()?;
        let decided = self.read_decided(&params)?;
        let mut sources = Vec::new();
        for (id, entry) in &dict.state {
            let Some(&param) = params.get(*id as usize) else { continue };
            let [exp_avg, exp_avg_sq, max_exp_avg_sq] = self.moment_sources(param)?;
            sources.extend(exp_avg.into_iter().chain(exp_avg_sq));
            if entry.max_exp_avg_sq.is_some() {
                sources.extend(max_exp_avg_sq);
            }
        }
        Ok((dict, decided, self.read_back(sources)?))
    }

    /// Begins to copy what the device alone knows, where it decides whether steps are taken.
    pub(crate) fn read_decided(&self, params: &[ParamId]) -> Result<Decided, Error> {
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
    pub(crate) fn read_back(&self, sources: Vec<Source>) -> Result<Readback, Error> {
        Readback::new(&self.gpu, sources, self.staging, self.slots.outstanding(), &self.copying)
    }

    /// The state dict without values, its moments empty, and the parameter behind each id.
    pub(crate) fn outline(&self) -> Result<(StateDict, Vec<ParamId>), Error> {
        let mut dict = StateDict { grad_scaler: self.control.kept_scaler, ..Default::default() };
        let mut params: Vec<ParamId> = Vec::new();
        for group in &self.registry.groups {
            let first = params.len() as u64;
            let mut names = Vec::new();
            for &param in group.params() {
                let tensor = self.tensor(param)?;
                names.extend(tensor.name.clone());
                if tensor.step > 0 {
                    let max_exp_avg_sq = self.registry.has_max_exp_avg_sq(param.index).then(Vec::new);
                    let shape = tensor.shape.clone();
                    let entry = TensorState { step: tensor.step, shape, max_exp_avg_sq, ..Default::default() };
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

    /// Where a parameter's moments lie, plane by plane; nothing for a plane that it does not have.
    pub(crate) fn moment_sources(&self, param: ParamId) -> Result<[Vec<Source>; 3], Error> {
        let mut sources = [const { Vec::new() }; 3];
        self.tensor(param)?;
        for piece in self.places(param).pieces {
            for (plane, offset) in sources.iter_mut().zip(piece.planes()) {
                plane.extend(offset.map(|offset| Source {
                    buffer: piece.buffer.clone(),
                    offset,
                    size: piece.length * 4,
                }));
            }
        }
        Ok(sources)
    }
}
