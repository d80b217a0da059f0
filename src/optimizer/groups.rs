//! Adding and removing groups and parameters: checked as a whole before anything changes, at a cost of what is added.

use crate::error::Error;
use crate::optimizer::{WgpuAdam, admission};
use crate::planes::Planes;
use crate::registry::group::{Group, ParamId};
use crate::registry::{Mark, Registry};
use crate::tensors::group::ParamGroup;
use crate::tensors::tensor::Param;

impl WgpuAdam {
    /// Adds a group to a running optimizer; its parameters begin at step 0. Returns the group's number.
    ///
    /// Options that the group does not set are those given to [`new`](Self::new). Allocates the group's state; the next
    /// recorded step makes a new plan and compiles what that needs. Steps already recorded are not affected. Costs what is
    /// added, however much there is. Neighbours in memory that have taken no step are stepped as one, whenever they were
    /// added; beside others, [`record_defragment`](Self::record_defragment) brings them together.
    ///
    /// # Errors
    /// As for [`new`](Self::new); a parameter that the optimizer already has.
    pub fn add_param_group(&mut self, group: ParamGroup) -> Result<usize, Error> {
        self.register(vec![group])?;
        Ok(self.registry.groups.len() - 1)
    }

    /// Adds a parameter to a group, which it begins at step 0 with the group's options. Returns its id.
    ///
    /// Costs and effects are those of [`add_param_group`](Self::add_param_group).
    ///
    /// # Errors
    /// No such group; else as for [`add_param_group`](Self::add_param_group).
    pub fn add_param(&mut self, group: usize, param: Param) -> Result<ParamId, Error> {
        let amsgrad = self.group(group)?.config.amsgrad;
        let mark = self.registry.mark();
        let added = self.push(param, group as u32).and_then(|number| {
            self.complete(&[(number, Planes::new(amsgrad))])?;
            Ok(ParamId { optimizer: self.id, index: number })
        });
        added.inspect_err(|_| self.undo_to(mark))
    }

    /// Adds groups, all or none.
    pub(super) fn register(&mut self, added: Vec<ParamGroup>) -> Result<(), Error> {
        let mark = self.registry.mark();
        self.add_groups(added).inspect_err(|_| self.undo_to(mark))
    }

    /// Takes a parameter out of the optimizer: its id is not valid any more, its state goes. A group may become empty.
    /// Steps already recorded are not affected; the next one makes a new plan.
    ///
    /// # Errors
    /// An id of another optimizer or of a removed parameter.
    pub fn remove_param(&mut self, id: ParamId) -> Result<(), Error> {
        self.tensor(id)?;
        self.registry.remove(id.index);
        self.stepper.drop_plan();
        Ok(())
    }

    /// Takes a group with its parameters out of the optimizer, as torch's `del optimizer.param_groups[group]`: the groups
    /// behind it move up by one. The ids of its parameters are not valid any more, their state goes. Steps already recorded
    /// are not affected; the next one makes a new plan.
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

    /// Gives state to tensors that were added, as numbers and the planes they need. Where a plan of them may
    /// be larger than the device's limits allow, makes it now: a step would be too late for an error.
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

    /// Puts a changed registry in the place of the old one, if a plan can be made of it.
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

    /// What is removed holds no buffer and no bind group any longer, and a model that changes for ever does not grow.
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
