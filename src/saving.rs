//! `state_dict`: the state copied to the host.

use crate::Error;
use crate::gradient_control::scaler::Words;
use crate::gradient_control::{GradScalerState, LossScale};
use crate::optimizer::{ParamId, WgpuAdam};
use crate::readback::{Readback, Source};
use crate::state_dict::{StateDict, StateGroup, TensorState};

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
        let mut decided = Decided { numbers, loss_scale, counts: Vec::new(), copy: None };
        if let Some(controller) = self.control.controller.as_ref().filter(|_| self.control.may_skip()) {
            let scale = Source { buffer: controller.state.clone(), offset: 0, size: size_of::<Words>() as u64 };
            let counts: Vec<Source> = controller.skipped.sources().collect();
            decided.counts = counts.iter().map(|source| source.size as usize).collect();
            decided.copy = Some(self.read_back(std::iter::once(scale).chain(counts).collect())?);
        }
        Ok(decided)
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

/// What the device alone knows, on its way to the host: the loss scale, and how many recorded steps were skipped.
pub(crate) struct Decided {
    /// The number of the parameter behind each id.
    numbers: Vec<u32>,
    loss_scale: LossScale,
    /// Bytes of each buffer of counts.
    counts: Vec<usize>,
    copy: Option<Readback>,
}

impl Decided {
    /// Turns steps recorded into steps taken, and adds the scale if it is a dynamic one.
    pub(crate) async fn tell(self, dict: &mut StateDict) -> Result<(), Error> {
        let Some(copy) = self.copy else { return Ok(()) };
        let mut bytes = Vec::new();
        let keep = |part: &[u8]| {
            bytes.extend_from_slice(part);
            Ok(())
        };
        copy.for_each(keep).await?;
        let word =
            |at: usize| bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_le_bytes);
        dict.grad_scaler = dict.grad_scaler.or(GradScalerState::told(self.loss_scale, [word(0), word(4)]));
        for (id, entry) in &mut dict.state {
            let Some(&number) = self.numbers.get(*id as usize) else { continue };
            let (mut begin, own) = (size_of::<Words>(), number as usize * 4);
            for &length in &self.counts {
                if own < length {
                    entry.step = entry.step.saturating_sub(word(begin + own).into());
                }
                begin += length;
            }
        }
        Ok(())
    }
}

/// The moments of a dict, filled one after another with bytes that come in parts.
struct Moments<'a> {
    /// Each with the number of its elements.
    rest: std::vec::IntoIter<(&'a mut Vec<f32>, usize)>,
    open: Option<(&'a mut Vec<f32>, usize)>,
}

impl<'a> Moments<'a> {
    fn of(dict: &'a mut StateDict) -> Self {
        let mut all = Vec::new();
        for entry in dict.state.values_mut() {
            let elements = entry.shape.iter().product();
            let moments = [Some(&mut entry.exp_avg), Some(&mut entry.exp_avg_sq), entry.max_exp_avg_sq.as_mut()];
            all.extend(moments.into_iter().flatten().map(|moment| (moment, elements)));
        }
        Self { rest: all.into_iter(), open: None }
    }

    fn fill(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let full = self.open.as_ref().is_none_or(|(moment, elements)| moment.len() == *elements);
            if full {
                self.open = self.rest.next();
                if self.open.is_none() {
                    let message = "more bytes came than the state has".into();
                    return Err(Error::Device { what: crate::readback::WHAT.into(), message });
                }
                continue;
            }
            let Some((moment, elements)) = &mut self.open else { break };
            moment.reserve_exact(*elements - moment.len());
            let (now, later) = bytes.split_at(bytes.len().min((*elements - moment.len()) * 4));
            // The bytes may lie at any address.
            moment.extend(now.chunks_exact(4).map(|word| f32::from_le_bytes(word.try_into().unwrap_or_default())));
            bytes = later;
        }
        Ok(())
    }
}
