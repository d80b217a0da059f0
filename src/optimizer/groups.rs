//! Adding and removing groups and parameters. Everything is checked before anything changes. A call costs in proportion
//! to what it adds.

use crate::error::Error;
use crate::optimizer::{WgpuAdam, admission};
use crate::planes::Planes;
use crate::registry::group::{Group, ParamId};
use crate::registry::{Mark, Registry};
use crate::tensors::group::ParamGroup;
use crate::tensors::tensor::Param;

impl WgpuAdam {
    /// Adds a group, whose parameters begin at step 0. Returns the group's number.
    ///
    /// Options that the group does not set are those given to [`new`](Self::new). Allocates the group's state. The next
    /// recorded step makes a new plan and compiles what it needs. Steps already recorded are not affected. Costs in
    /// proportion to what is added, however much the optimizer already has.
    ///
    /// Neighbours in memory that have taken no step are stepped as one, whenever they were added. Neighbours that have
    /// taken steps are brought together by [`record_defragment`](Self::record_defragment).
    ///
    /// # Errors
    /// As for [`new`](Self::new); a parameter that the optimizer already has.
    pub fn add_param_group(&mut self, group: ParamGroup) -> Result<usize, Error> {
        self.register(vec![group])?;
        Ok(self.registry.groups.len() - 1)
    }

    /// Adds a parameter to a group, with the group's options and at step 0. Returns its id.
    ///
    /// Costs and effects are as for [`add_param_group`](Self::add_param_group).
    ///
    /// # Errors
    /// No such group; otherwise as for [`add_param_group`](Self::add_param_group).
    pub fn add_param(&mut self, group: usize, param: Param) -> Result<ParamId, Error> {
        let amsgrad = self.group(group)?.config.amsgrad;
        let mark = self.registry.mark();
        let added = self.push(param, group as u32).and_then(|number| {
            self.complete(&[(number, Planes::new(amsgrad))])?;
            Ok(ParamId { optimizer: self.id, index: number })
        });
        added.inspect_err(|_| self.undo_to(mark))
    }

    /// Adds all groups, or none.
    pub(super) fn register(&mut self, added: Vec<ParamGroup>) -> Result<(), Error> {
        let mark = self.registry.mark();
        self.add_groups(added).inspect_err(|_| self.undo_to(mark))
    }

    /// Removes a parameter: its id becomes invalid, and its state is freed. The group may become empty. Steps already
    /// recorded are not affected. The next step makes a new plan.
    ///
    /// # Errors
    /// An id of another optimizer or of a removed parameter.
    pub fn remove_param(&mut self, id: ParamId) -> Result<(), Error> {
        self.tensor(id)?;
        self.registry.remove(id.index);
        self.stepper.drop_plan();
        Ok(())
    }

    /// Removes a group and its parameters, as torch's `del optimizer.param_groups[group]` does. The numbers of later
    /// groups decrease by one. The parameters' ids become invalid, and their state is freed. Steps already recorded are
    /// not affected. The next step makes a new plan.
    ///
    /// # Errors
    /// No such group.
    pub fn remove_group(&mut self, group: usize) -> Result<(), Error> {
        self.group(group)?;
        self.registry.remove_group(group);
        self.stepper.drop_plan();
        Ok(())
    }

    fn add_groups(&mut self, added: Vec<ParamGroup>) -> Result<(), Error> {
        let mut stateless = Vec::new();
        for group in added {
            let number = self.registry.groups.len();
            let config = group.config(&self.defaults);
            config.validate(Some(number))?;
            self.registry.groups.push(Group::new(config, self.id));
            for param in group.params {
                stateless.push((self.push(param, number as u32)?, Planes::new(config.amsgrad)));
            }
        }
        self.complete(&stateless)
    }

    fn push(&mut self, param: Param, group: u32) -> Result<u32, Error> {
        let tensor = admission::param(&self.stepper, &mut self.registry, param, None, group)?;
        self.registry.push(tensor)
    }

    /// Allocates state for added tensors, given as numbers and the planes they need. If their plan may exceed the
    /// device's limits, makes it now: a step would be too late for an error.
    fn complete(&mut self, stateless: &[(u32, Planes)]) -> Result<(), Error> {
        self.registry.add_state(&self.stepper.gpu, &self.stepper.limits, stateless)?;
        if self.stepper.may_exceed_limits(&self.registry, &self.control) {
            self.prepare()?;
        }
        self.stepper.tensors_changed();
        Ok(())
    }

    fn undo_to(&mut self, mark: Mark) {
        self.registry.undo_to(mark);
        self.registry.release_buffers();
        self.stepper.set_stale();
    }

    /// Replaces the registry by a changed copy, if a plan can be made of the copy.
    pub(super) fn commit(&mut self, draft: Registry) -> Result<(), Error> {
        let old = std::mem::replace(&mut self.registry, draft);
        let prepared = self.prepare();
        match prepared {
            Ok(()) => self.stepper.forget_clears(),
            Err(_) => self.registry = old,
        }
        prepared
    }
}

#[cfg(test)]
mod tests {
    use crate::{AdamConfig, TensorArena, WgpuAdam, wgpu};

    /// Removed parameters hold no buffer and no bind group, and a model that keeps changing does not grow.
    #[test]
    fn what_is_removed_is_freed() {
        let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
        let arena = TensorArena::new(&device, (0..9).map(|number| (number.to_string(), [8]))).unwrap();
        let mut adam = WgpuAdam::new(&device, &queue, arena.params(), AdamConfig::default()).unwrap();
        let windows = |adam: &WgpuAdam| adam.registry.windows().iter().flatten().count();
        for round in 0..50 {
            adam.step().unwrap();
            assert!(windows(&adam) > 0 && !adam.stepper.prepared.bound.dispatches.is_empty(), "round {round}");
            let (pieces, _, elements) = adam.registry.totals();
            assert!(pieces <= 2 * 9 && elements == 72, "round {round}: {pieces} pieces of {elements} elements");
            for id in adam.param_groups()[0].params().to_vec() {
                adam.remove_param(id).unwrap();
                assert!(adam.stepper.prepared.bound.dispatches.is_empty(), "round {round}: the plan of what is gone");
            }
            assert_eq!(windows(&adam), 0, "round {round}");
            for param in arena.params() {
                adam.add_param(0, param).unwrap();
            }
        }
    }
}
