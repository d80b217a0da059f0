//! `load_state_dict`: everything checked, then state made anew or, where that would be too much memory, filled in place.

use std::collections::{HashMap, HashSet};

use futures_channel::oneshot;

use crate::device::wait::Poller;
use crate::error::Error;
use crate::optimizer::WgpuAdam;
use crate::options::grad_scaler::GradScalerState;
use crate::planes::{Plane, Planes};
use crate::registry::Registry;
use crate::registry::tensor::Tensor;
use crate::state_dict::load_options::LoadOptions;
use crate::state_dict::matching::{StateMatching, match_params, take_names};
use crate::state_dict::{StateDict, TensorState};
use crate::transfer::upload::{self, Bytes, Staging, Target, What};

/// A state dict that fits: what the optimizer will be.
pub(crate) struct Loading {
    /// With its options, names and step counts; its state is still the old.
    draft: Registry,
    /// The id of each parameter's entry, whether it has state or not. Some parameters have none.
    ids: HashMap<u32, u64>,
    /// The parameters with state in the dict, and the planes of that.
    with_state: HashMap<u32, Planes>,
    /// The planes that each parameter's state is to have.
    planes: Vec<(u32, Planes)>,
    /// Bytes that the state takes.
    size: u64,
    grad_scaler: Option<GradScalerState>,
}

impl WgpuAdam {
    /// Takes over a state dict's options, step counts and moments, as torch's `load_state_dict`.
    ///
    /// Parameters match by name where both sides name all of them, which torch does not do, and by position where one side has
    /// no names; see [`StateMatching`]. Options match by the position of the group.
    /// Saved options win; a group added later has the constructor's defaults. The whole state is replaced: a parameter
    /// without an entry starts anew. Names of an optimizer that has none are taken from the dict. Stricter than torch:
    /// shapes must agree, options must be in range, moments not NaN, `exp_avg` finite, `exp_avg_sq` not negative, all moments
    /// zero at step 0, and steps at most 2^53.
    ///
    /// A state of up to the [staging size](Self::set_staging_size) is loaded into new buffers, so steps recorded before are
    /// not disturbed; they act on the state that is given up. A larger one is loaded into the buffers that are there,
    /// through staging buffers of that size, which natively waits for the GPU; new buffers are made for it, twice the
    /// memory meanwhile, only where recorded steps still wait for their submit (or, in a browser, for the GPU), a copy of
    /// the state is under way, or max_exp_avg_sq comes or goes.
    ///
    /// A [`grad_scaler`](StateDict::grad_scaler) sets a dynamic loss scale that is in force where it was, with the dict's
    /// growth and backoff in place of those of the control, as torch's `GradScaler.load_state_dict`; `init` stays. Where
    /// none is in force it is kept: for [`set_gradient_control`](Self::set_gradient_control), which goes on from it, and for
    /// dicts to come. A dict without one leaves the scale in force as it is. The scale is written by the queue, before
    /// the next submit, to the [buffer](Self::loss_scale_buffer) that it is in; so steps recorded before, if they
    /// are submitted later, do act on it. What [`StepStatistics`](crate::StepStatistics) count goes on.
    ///
    /// A run that goes on from a dict has the bits of one that was not interrupted. Clipped by norm, it has them as long as
    /// the same neighbours are stepped as one, on which the norm's last bit depends: loading may bring together what was
    /// replaced, or has missed different steps and as many.
    ///
    /// # Errors
    /// A dict that does not fit; [`SpoiledState`](Error::SpoiledState) for moments that are not finite, which torch loads; no
    /// memory; a lost device. Nothing has changed then, unless the device was lost while buffers were filled.
    pub async fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), Error> {
        self.load_state_dict_with(dict, &LoadOptions::new()).await
    }

    /// As [`load_state_dict`](Self::load_state_dict), with options: what belongs to which parameter, and what passes.
    ///
    /// # Errors
    /// As for [`load_state_dict`](Self::load_state_dict).
    pub async fn load_state_dict_with(&mut self, dict: &StateDict, options: &LoadOptions) -> Result<(), Error> {
        let allow = options.allow_nonfinite;
        let check = |entry: &TensorState, tensor: &Tensor, number| entry.check_moments(tensor, number, allow);
        let loading = self.plan_loading(dict, options.matching, check)?;
        if loading.size <= self.copies.staging {
            return self.load_anew(loading, dict);
        }
        self.load_staged(loading, Vec::new(), dict).await
    }

    /// Checks a state dict, of which `check` checks the entries, against the optimizer.
    pub(crate) fn plan_loading(
        &self,
        dict: &StateDict,
        matching: StateMatching,
        check: impl Fn(&TensorState, &Tensor, u32) -> Result<(), Error>,
    ) -> Result<Loading, Error> {
        dict.check_version()?;
        if let Some(grad_scaler) = &dict.grad_scaler {
            grad_scaler.validate()?;
        }
        let mut draft = self.registry.clone();
        let matched = match_params(&draft, dict, matching)?;
        for (number, (group, saved)) in draft.groups.iter_mut().zip(&dict.param_groups).enumerate() {
            group.config = saved.config(number)?;
            group.config.validate(Some(number))?;
            group.extra.clone_from(&saved.extra);
        }
        let (mut with_state, mut planes, mut size) = (HashMap::new(), Vec::new(), 0);
        for &(param, id) in &matched {
            let entry = id.and_then(|id| dict.state.get(&id));
            let Some(tensor) = draft.tensor_mut(param) else { continue };
            tensor.step = entry.map_or(0, |entry| entry.step);
            let group = tensor.group as usize;
            if entry.is_some() {
                draft.touch(param);
            }
            let amsgrad = draft.groups.get(group).is_some_and(|group| group.config.amsgrad);
            let Some(tensor) = draft.tensor(param) else { continue };
            let mut own = Planes::new(amsgrad);
            if let Some(entry) = entry {
                entry.check_shape(tensor, param, amsgrad)?;
                check(entry, tensor, param)?;
                with_state.insert(param, entry.planes());
                own = own.and(entry.planes());
            }
            planes.push((param, own));
            size += own.bytes(tensor.length);
        }
        draft.forget_histories();
        take_names(&mut draft, dict, &matched);
        let ids = matched.into_iter().filter_map(|(param, id)| Some((param, id?))).collect();
        let grad_scaler = dict.grad_scaler;
        Ok(Loading { draft, ids, with_state, planes, size, grad_scaler })
    }

    /// Loads into new buffers; the old are given up when all has succeeded.
    fn load_anew(&mut self, mut loading: Loading, bytes: &impl Bytes) -> Result<(), Error> {
        loading.draft.add_state(&self.stepper.gpu, &self.stepper.limits, &loading.planes)?;
        upload::write_all(&self.stepper.gpu, &loading.targets(), bytes)?;
        self.commit_loaded(loading.draft, loading.grad_scaler)
    }

    /// Loads through a staging buffer: into the buffers there are, if nothing recorded or under way needs these. `values`
    /// of parameters go the same way, behind the state.
    pub(crate) async fn load_staged(
        &mut self,
        mut loading: Loading,
        values: Vec<Target>,
        bytes: &impl Bytes,
    ) -> Result<(), Error> {
        let size = values.iter().fold(loading.size, |size, target| size + target.size);
        let staging = Staging::new(&self.stepper.gpu, self.copies.staging.min(size))?;
        let in_use = self.copies.copying.is_under_way() || self.unsubmitted().await? > 0;
        if in_use {
            loading.draft.add_state(&self.stepper.gpu, &self.stepper.limits, &loading.planes)?;
            staging.write_all(&loading.targets(), bytes).await?;
            self.commit_loaded(loading.draft, loading.grad_scaler)?;
            return staging.write_all(&values, bytes).await;
        }
        let mut targets = self.begin_in_place(loading)?;
        targets.extend(values);
        staging.write_all(&targets, bytes).await
    }

    /// Takes over what a state dict says. Its step counts are those of steps taken.
    fn commit_loaded(&mut self, draft: Registry, grad_scaler: Option<GradScalerState>) -> Result<(), Error> {
        let renewed = self.control.controller.as_ref().map(|controller| controller.skipped.renewed(&self.stepper.gpu));
        let renewed = renewed.transpose()?;
        self.commit(draft)?;
        self.forget_skips(renewed);
        self.control.load_scaler(&self.stepper.gpu, grad_scaler)
    }

    /// Takes over all but the moments, clears those that the dict does not have, and tells where the others go.
    fn begin_in_place(&mut self, mut loading: Loading) -> Result<Vec<Target>, Error> {
        let has_place = |(param, planes): &(u32, Planes)| self.registry.planes_of(*param) == *planes;
        let (kept, replaced): (Vec<_>, Vec<_>) = loading.planes.iter().copied().partition(has_place);
        if !replaced.is_empty() {
            loading.draft.add_state(&self.stepper.gpu, &self.stepper.limits, &replaced)?;
        }
        let targets = loading.targets();
        let clears = loading.clears(&kept.into_iter().map(|(param, _)| param).collect());
        self.commit_loaded(loading.draft, loading.grad_scaler)?;
        self.stepper.gpu.guard.run("the clearing of state", || {
            let mut encoder =
                self.stepper.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            for Target { buffer, offset, size, .. } in &clears {
                encoder.clear_buffer(buffer, *offset, Some(*size));
            }
            self.stepper.gpu.queue.submit([encoder.finish()]);
        })?;
        Ok(targets)
    }

    /// How many recorded steps are not submitted: waits until what is submitted is done.
    async fn unsubmitted(&self) -> Result<usize, Error> {
        const WHAT: &str = "the wait for recorded steps";
        let recorded = self.stepper.outstanding();
        let (sender, count) = oneshot::channel();
        let poller = self.stepper.gpu.guard.run(WHAT, || {
            let encoder =
                self.stepper.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(WHAT) });
            encoder.on_submitted_work_done(move || {
                let _ = sender.send(recorded.count());
            });
            Poller::new(&self.stepper.gpu.device, self.stepper.gpu.queue.submit([encoder.finish()]))
        })?;
        let gone = || Error::DeviceLost { what: WHAT.into() };
        poller.wait(count).await.ok_or_else(gone)
    }
}

impl Loading {
    /// The parameter that an entry goes to, and the id of each.
    #[cfg(feature = "safetensors")]
    pub(crate) fn ids(&self) -> &HashMap<u32, u64> {
        &self.ids
    }

    /// Where the dict's moments go.
    fn targets(&self) -> Vec<Target> {
        self.parts(|param, plane| self.is_in_dict(param, plane))
    }

    /// Where these parameters' state is not in the dict, and is to be zero.
    fn clears(&self, of: &HashSet<u32>) -> Vec<Target> {
        self.parts(|param, plane| of.contains(&param) && !self.is_in_dict(param, plane))
    }

    fn is_in_dict(&self, param: u32, plane: Plane) -> bool {
        self.with_state.get(&param).is_some_and(|planes| planes.has(plane))
    }

    /// The places of chosen planes of all pieces.
    fn parts(&self, chosen: impl Fn(u32, Plane) -> bool) -> Vec<Target> {
        let mut targets = Vec::new();
        for (piece, _) in self.draft.pieces().filter(|(piece, _)| piece.length > 0) {
            // What is cleared has no entry.
            let id = self.ids.get(&piece.tensor).copied().unwrap_or_default();
            for plane in Plane::ALL.into_iter().filter(|plane| chosen(piece.tensor, *plane)) {
                let Some(part) = self.draft.plane_part(piece, plane) else { continue };
                targets.push(Target {
                    size: part.size(),
                    start: plane.format().bytes(part.start),
                    buffer: part.buffer,
                    offset: part.offset,
                    id,
                    what: What::State(plane),
                });
            }
        }
        targets
    }
}
