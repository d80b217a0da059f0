//! Changing the options of a group between steps, and finding groups and parameters.

use crate::error::Error;
use crate::optimizer::WgpuAdam;
use crate::options::adam::AdamConfig;
use crate::planes::{Plane, Planes};
use crate::registry::group::Group;
use crate::registry::group::ParamId;

impl WgpuAdam {
    /// Sets a group's [`lr`](AdamConfig::lr) from the next recorded step on.
    ///
    /// # Errors
    /// No such group; a value out of range. The old value then stays in force. The same holds for the other setters.
    pub fn set_lr(&mut self, group: usize, lr: f64) -> Result<(), Error> {
        self.change(group, |config| config.lr = lr)
    }

    /// Sets a group's [`betas`](AdamConfig::betas) from the next recorded step on. Bias corrections use the new betas
    /// with the old step counts, as in torch.
    ///
    /// # Errors
    /// As for [`set_lr`](Self::set_lr).
    pub fn set_betas(&mut self, group: usize, betas: (f64, f64)) -> Result<(), Error> {
        self.change(group, |config| config.betas = betas)
    }

    /// Sets a group's [`eps`](AdamConfig::eps) from the next recorded step on.
    ///
    /// # Errors
    /// As for [`set_lr`](Self::set_lr).
    pub fn set_eps(&mut self, group: usize, eps: f64) -> Result<(), Error> {
        self.change(group, |config| config.eps = eps)
    }

    /// Sets a group's [`weight_decay`](AdamConfig::weight_decay) from the next recorded step on.
    ///
    /// # Errors
    /// As for [`set_lr`](Self::set_lr).
    pub fn set_weight_decay(&mut self, group: usize, weight_decay: f64) -> Result<(), Error> {
        self.change(group, |config| config.weight_decay = weight_decay)
    }

    /// Sets a group's [`maximize`](AdamConfig::maximize) from the next recorded step on.
    ///
    /// # Errors
    /// No such group.
    pub fn set_maximize(&mut self, group: usize, maximize: bool) -> Result<(), Error> {
        self.change(group, |config| config.maximize = maximize)
    }

    /// Sets a group's [`decoupled_weight_decay`](AdamConfig::decoupled_weight_decay) from the next recorded step on.
    /// May compile another variant of the step.
    ///
    /// # Errors
    /// No such group; a lost device, which cannot compile.
    pub fn set_decoupled_weight_decay(&mut self, group: usize, decoupled_weight_decay: bool) -> Result<(), Error> {
        self.change(group, |config| config.decoupled_weight_decay = decoupled_weight_decay)
    }

    /// Switches a group's [`amsgrad`](AdamConfig::amsgrad) on or off, from the next recorded step on. May compile and
    /// allocate.
    ///
    /// It can be switched off at any time. max_exp_avg_sq then stays as it is, and is used again if amsgrad is switched
    /// on again, as in torch. It can be switched on if the group was created with amsgrad, or if none of its parameters
    /// has taken a step; then it gets new state.
    ///
    /// # Errors
    /// No such group; parameters that have taken steps without recording max_exp_avg_sq (torch fails at the next step);
    /// out of memory; a lost device.
    pub fn set_amsgrad(&mut self, group: usize, amsgrad: bool) -> Result<(), Error> {
        self.update_group(group, |config| config.amsgrad = amsgrad)
    }

    /// Changes any of a group's options in one call, all or none, from the next recorded step on. The setters change
    /// one option each.
    ///
    /// ```no_run
    /// # fn demo(adam: &mut wgpu_adam::WgpuAdam) -> Result<(), wgpu_adam::Error> {
    /// adam.update_group(0, |config| {
    ///     config.lr *= 0.5;
    ///     config.weight_decay = 0.01;
    /// })?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As for [`set_lr`](Self::set_lr) and [`set_amsgrad`](Self::set_amsgrad). All old values then stay in force.
    pub fn update_group(&mut self, group: usize, update: impl FnOnce(&mut AdamConfig)) -> Result<(), Error> {
        let old = self.group(group)?.config;
        let mut new = old;
        update(&mut new);
        new.validate(Some(group))?;
        if new.amsgrad && !old.amsgrad {
            // Comes before the other options, so that nothing has changed if it fails.
            return self.begin_amsgrad(group, new);
        }
        self.change(group, |config| *config = new)
    }

    /// Changes a group's options and switches amsgrad on. State without max_exp_avg_sq is replaced by new state.
    fn begin_amsgrad(&mut self, group: usize, config: AdamConfig) -> Result<(), Error> {
        let params: Vec<u32> = self.group(group)?.params().iter().map(|id| id.index).collect();
        let lacking = params.into_iter().filter(|number| !self.registry.planes_of(*number).has(Plane::MaxExpAvgSq));
        let lacking: Vec<(u32, Planes)> = lacking.map(|number| (number, Planes::new(true))).collect();
        if lacking.is_empty() {
            return self.change(group, |own| *own = config);
        }
        for &(number, _) in &lacking {
            if let Some(tensor) = self.registry.tensor(number).filter(|tensor| tensor.step > 0) {
                let (tensor, steps) = (tensor.describe(number), tensor.step);
                return Err(Error::AmsgradWithoutHistory { group, tensor, steps });
            }
        }
        let mut draft = self.registry.clone();
        draft.add_state(&self.stepper.gpu, &self.stepper.limits, &lacking)?;
        if let Some(group) = draft.groups.get_mut(group) {
            group.config = config;
        }
        self.commit(draft)
    }

    /// Changes a group's options if the result is valid. Compiles the code that they select, if it is new.
    fn change(&mut self, group: usize, change: impl FnOnce(&mut AdamConfig)) -> Result<(), Error> {
        let old = self.group(group)?.config;
        let mut new = old;
        change(&mut new);
        new.validate(Some(group))?;
        self.set_config(group, new);
        self.stepper.note_options();
        // A plan depends on no other options.
        let plans = |config: &AdamConfig| (config.amsgrad, config.decoupled_weight_decay, config.eps > 0.0);
        if plans(&old) == plans(&new) {
            return Ok(());
        }
        let prepared = self.prepare();
        if prepared.is_err() {
            self.set_config(group, old);
        }
        prepared
    }

    fn set_config(&mut self, group: usize, config: AdamConfig) {
        if let Some(group) = self.registry.groups.get_mut(group) {
            group.config = config;
        }
    }

    pub(super) fn group(&self, group: usize) -> Result<&Group, Error> {
        self.registry.groups.get(group).ok_or(Error::NoSuchGroup { group, count: self.registry.groups.len() })
    }

    /// Returns the groups in the order in which they were given, with the options now in force.
    #[must_use]
    pub fn param_groups(&self) -> &[Group] {
        &self.registry.groups
    }

    /// Returns the id of the parameter with this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<ParamId> {
        self.registry.find(name).map(|index| ParamId { optimizer: self.id, index })
    }
}
