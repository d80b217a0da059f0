//! `load_state_dict`: checks everything, then loads into new state or, if that would take too much memory, into the
//! existing buffers.

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

/// A state dict that fits the optimizer, and what the optimizer will be after loading it.
pub(crate) struct Loading {
    /// Has the dict's options, names and step counts. Its state is still the old one.
    draft: Registry,
    /// The id of each parameter in the dict, whether the dict has state for it or not. Some parameters have no id.
    ids: HashMap<u32, u64>,
    /// The parameters that have state in the dict, and the planes of that state.
    with_state: HashMap<u32, Planes>,
    /// The planes that each parameter's state will have.
    planes: Vec<(u32, Planes)>,
    /// The size of the new state, in bytes.
    size: u64,
    grad_scaler: Option<GradScalerState>,
}

impl WgpuAdam {
    /// Loads a state dict's options, step counts and moments, as torch's `load_state_dict` does.
    ///
    /// Parameters match by name if both sides name all of them, which torch does not do, and by position if one side
    /// has no names; see [`StateMatching`]. Options match by the group's position. Saved options win; a group added
    /// later has the constructor's defaults. The whole state is replaced: a parameter without an entry starts over. An
    /// optimizer without names takes the dict's names.
    ///
    /// Stricter than torch: shapes must be equal, options must be in range, moments must not be NaN, `exp_avg` must be
    /// finite, `exp_avg_sq` must not be negative, all moments must be zero at step 0, and step counts must be at most
    /// 2^53.
    ///
    /// State of up to the [staging size](Self::set_staging_size) is loaded into new buffers. Steps recorded before use
    /// the old buffers, so neither disturbs the other. Larger state is loaded into the existing buffers, through
    /// staging buffers of that size. On native targets this waits for the GPU. Larger state gets new buffers, and for a
    /// time twice the memory, in three cases only: recorded steps are not submitted yet (in a browser: not done yet), a
    /// copy of the state is under way, or max_exp_avg_sq is added or removed.
    ///
    /// If a dynamic loss scale is in force, the dict's [`grad_scaler`](StateDict::grad_scaler) replaces the scale and
    /// its growth tracker. As in torch's `GradScaler.load_state_dict`, the dict's growth and backoff also replace those
    /// of the control; `init_scale` stays. If no dynamic scale is in force, the dict's scale is kept:
    /// [`set_gradient_control`](Self::set_gradient_control) continues from it, and later state dicts contain it. A dict
    /// without a scale leaves the current scale as it is.
    ///
    /// The queue writes the scale to its existing [buffer](Self::loss_scale_buffer) before the next submit. So the new
    /// scale also affects steps that were recorded before and are submitted later. The counts of
    /// [`StepStatistics`](crate::StepStatistics) continue.
    ///
    /// A run that continues from a dict has the bits of a run that was not interrupted. With clipping by norm it has
    /// them only while the same neighbours are stepped as one, because the norm's last bit depends on that. Loading may
    /// bring neighbours together: parameters that were replaced, and parameters that have missed different steps but
    /// equally many.
    ///
    /// # Errors
    /// A dict that does not fit; [`SpoiledState`](Error::SpoiledState) for moments that are not finite, which torch
    /// loads; out of memory; a lost device. After an error nothing has changed, unless the device was lost while
    /// buffers were being filled.
    pub async fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), Error> {
        self.load_state_dict_with(dict, &LoadOptions::new()).await
    }

    /// Like [`load_state_dict`](Self::load_state_dict), with options: which entry belongs to which parameter, and
    /// whether spoiled state is loaded.
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

    /// Checks a state dict against the optimizer. `check` checks each entry.
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

    /// Loads into new buffers. The old ones are dropped when everything has succeeded.
    fn load_anew(&mut self, mut loading: Loading, bytes: &impl Bytes) -> Result<(), Error> {
        loading.draft.add_state(&self.stepper.gpu, &self.stepper.limits, &loading.planes)?;
        upload::write_all(&self.stepper.gpu, &loading.targets(), bytes)?;
        self.commit_loaded(loading.draft, loading.grad_scaler)
    }

    /// Loads through a staging buffer: into the existing buffers, unless recorded steps or a copy under way need them.
    /// Then writes `values` of parameters in the same way.
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

    /// Applies a loaded registry and scale. Its step counts have no skipped steps, so the device's counts of them start
    /// at zero.
    fn commit_loaded(&mut self, draft: Registry, grad_scaler: Option<GradScalerState>) -> Result<(), Error> {
        let renewed = self.control.controller.as_ref().map(|controller| controller.skipped.renewed(&self.stepper.gpu));
        let renewed = renewed.transpose()?;
        self.commit(draft)?;
        self.forget_skips(renewed);
        self.control.load_scaler(&self.stepper.gpu, grad_scaler)
    }

    /// Applies everything but the moments, clears those that the dict lacks, and returns where the others go.
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

    /// Returns how many recorded steps are not submitted. Waits until everything submitted is done.
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
    /// The id of the entry for each parameter.
    #[cfg(feature = "safetensors")]
    pub(crate) fn ids(&self) -> &HashMap<u32, u64> {
        &self.ids
    }

    /// Returns where the dict's moments go.
    fn targets(&self) -> Vec<Target> {
        self.parts(|param, plane| self.is_in_dict(param, plane))
    }

    /// Returns where the state of these parameters must become zero, because the dict lacks it.
    fn clears(&self, of: &HashSet<u32>) -> Vec<Target> {
        self.parts(|param, plane| of.contains(&param) && !self.is_in_dict(param, plane))
    }

    fn is_in_dict(&self, param: u32, plane: Plane) -> bool {
        self.with_state.get(&param).is_some_and(|planes| planes.has(plane))
    }

    /// Returns the places of the chosen planes of all pieces.
    fn parts(&self, chosen: impl Fn(u32, Plane) -> bool) -> Vec<Target> {
        let mut targets = Vec::new();
        for (piece, _) in self.draft.pieces().filter(|(piece, _)| piece.length > 0) {
            // State that is cleared has no entry, so its id is not used.
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
