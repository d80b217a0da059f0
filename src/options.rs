//! Changing the options of a group between steps.

use crate::Error;
use crate::config::AdamConfig;
use crate::group::Group;
use crate::moments::{self, Window};
use crate::optimizer::{ParamId, WgpuAdam};

impl WgpuAdam {
    /// Sets a group's [`lr`](AdamConfig::lr) from the next recorded step on.
    ///
    /// # Errors
    /// No such group; a value out of range. The old value then stays in force, here and below.
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
    /// May compile the other kind of step.
    ///
    /// # Errors
    /// No such group; a device that cannot compile, being lost.
    pub fn set_decoupled_weight_decay(&mut self, group: usize, decoupled_weight_decay: bool) -> Result<(), Error> {
        self.change(group, |config| config.decoupled_weight_decay = decoupled_weight_decay)
    }

    /// Switches a group's [`amsgrad`](AdamConfig::amsgrad) from the next recorded step on.
    ///
    /// Off: at any time; max_exp_avg_sq is kept, stale, as in torch, and used again if amsgrad is switched on again.
    /// On: where the group was made with amsgrad, or none of its parameters has taken a step; it then gets new state.
    /// May compile and allocate.
    ///
    /// # Errors
    /// No such group; parameters that have taken steps without recording max_exp_avg_sq (torch fails at the next step);
    /// no memory.
    pub fn set_amsgrad(&mut self, group: usize, amsgrad: bool) -> Result<(), Error> {
        self.group(group)?;
        let (pieces, windows) = (self.pieces.clone(), self.windows.clone());
        let result = self.change_amsgrad(group, amsgrad);
        if result.is_err() {
            (self.pieces, self.windows) = (pieces, windows);
        }
        result
    }

    fn change_amsgrad(&mut self, group: usize, amsgrad: bool) -> Result<(), Error> {
        let lacking = self.without_max_exp_avg_sq(group);
        if amsgrad && !lacking.is_empty() {
            for &index in &lacking {
                let steps = self.tensors.get(index as usize).map_or(0, |tensor| tensor.step);
                if steps > 0 {
                    return Err(Error::AmsgradWithoutHistory { group, tensor: self.describe(index), steps });
                }
            }
            let requests = lacking.iter().filter_map(|&index| {
                let tensor = self.tensors.get(index as usize)?;
                Some(moments::Request { planes: 3, ..self.request(tensor, index) })
            });
            let (layouts, pieces) =
                moments::lay_out(requests.collect(), self.windows.len() as u32, self.limits.binding);
            let windows = Window::create(&self.gpu, &layouts)?;
            self.pieces.retain(|piece| !lacking.contains(&piece.tensor));
            self.windows.extend(windows.into_iter().map(Some));
            self.pieces.extend(pieces);
            self.release_windows();
        }
        self.change(group, |config| config.amsgrad = amsgrad)
    }

    /// A group's parameters whose state has no place for max_exp_avg_sq.
    fn without_max_exp_avg_sq(&self, group: usize) -> Vec<u32> {
        let is_lacking = |window: u32| {
            let window = self.windows.get(window as usize).and_then(Option::as_ref);
            window.is_none_or(|window| window.layout.planes < 3)
        };
        let of_group = |index: u32| self.tensors.get(index as usize).is_some_and(|t| t.group as usize == group);
        let pieces = self.pieces.iter().filter(|piece| of_group(piece.tensor) && is_lacking(piece.window));
        let mut tensors: Vec<u32> = pieces.map(|piece| piece.tensor).collect();
        tensors.sort_unstable();
        tensors.dedup();
        tensors
    }

    /// Lets go of windows in which nothing lies any more.
    fn release_windows(&mut self) {
        for (number, window) in (0_u32..).zip(&mut self.windows) {
            if !self.pieces.iter().any(|piece| piece.window == number) {
                *window = None;
            }
        }
    }

    /// Changes a group's options if the result is valid. Where other code is selected, that is compiled.
    fn change(&mut self, group: usize, change: impl FnOnce(&mut AdamConfig)) -> Result<(), Error> {
        let old = self.group(group)?.config;
        let mut new = old;
        change(&mut new);
        new.validate(Some(group))?;
        self.set_config(group, new);
        // Only these bear on the plan.
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
        if let Some(group) = self.groups.get_mut(group) {
            group.config = config;
        }
    }

    fn group(&self, group: usize) -> Result<&Group, Error> {
        self.groups.get(group).ok_or(Error::NoSuchGroup { group, count: self.groups.len() })
    }

    /// The groups, in the order in which they were given, with the options now in force.
    #[must_use]
    pub fn param_groups(&self) -> &[Group] {
        &self.groups
    }

    /// The parameter of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<ParamId> {
        let index = self.tensors.iter().position(|tensor| tensor.name.as_deref() == Some(name))?;
        Some(ParamId { optimizer: self.number, index: index as u32 })
    }
}
