//! What is optimized: groups, their tensors, and where the tensors and their state lie.
//!
//! Adding or removing something costs in proportion to its own size, however much the registry already holds. A change
//! of many tensors is made on a copy, which replaces the registry when everything has succeeded.

pub(crate) mod buffers;
pub(crate) mod group;
mod histories;
pub(crate) mod overlap;
pub(crate) mod state;
pub(crate) mod tensor;
pub(crate) mod windows;
pub(crate) mod work;

use std::collections::HashMap;

use crate::error::Error;
use crate::error::tensor::TensorLabel;
use crate::registry::overlap::Ranges;
use crate::registry::windows::{Piece, Window};
use buffers::Buffers;
use group::Group;
use tensor::{Spot, Tensor};

#[derive(Clone, Debug, Default)]
pub(crate) struct Registry {
    pub groups: Vec<Group>,
    /// The caller's buffers that hold tensors.
    pub buffers: Buffers,
    /// By number; `None` for a parameter that was removed. Numbers are never reused.
    tensors: Vec<Option<Tensor>>,
    /// The numbers of tensors with names.
    names: HashMap<String, u32>,
    /// The number of tensors without a name.
    unnamed: usize,
    /// Where parameters and gradients lie.
    ranges: Ranges,
    /// Windows of state; `None` for a window that holds nothing any more.
    windows: Vec<Option<Window>>,
    /// In the order of windows, then of places. Some are dead: they belong to no tensor any more.
    pieces: Vec<Piece>,
    /// The number of dead pieces.
    dead_pieces: usize,
    /// The number of elements of all tensors.
    elements: u64,
    /// Whether tensors that have taken no step may lie in more windows than they need.
    scattered: bool,
}

/// The sizes of a registry at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    groups: usize,
    tensors: usize,
}

impl Registry {
    pub(crate) fn tensor(&self, number: u32) -> Option<&Tensor> {
        self.tensors.get(number as usize).and_then(Option::as_ref)
    }

    pub(crate) fn tensor_mut(&mut self, number: u32) -> Option<&mut Tensor> {
        self.tensors.get_mut(number as usize).and_then(Option::as_mut)
    }

    /// All tensors with their numbers, in the order in which they were added.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = (u32, &Tensor)> {
        (0_u32..).zip(&self.tensors).filter_map(|(number, tensor)| Some((number, tensor.as_ref()?)))
    }

    pub(crate) fn tensors_mut(&mut self) -> impl Iterator<Item = &mut Tensor> {
        self.tensors.iter_mut().flatten()
    }

    pub(crate) fn next_number(&self) -> u32 {
        self.tensors.len() as u32
    }

    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        self.names.get(name).copied()
    }

    /// Drops the handles of buffers that hold no parameter and no gradient any more.
    pub(crate) fn release_buffers(&mut self) {
        let spots = self.tensors().flat_map(|(_, tensor)| [Some(tensor.param), tensor.grad]).flatten();
        self.buffers.retain(&spots.map(|spot| spot.place.buffer).collect());
    }

    /// Upper bounds on the numbers of pieces, tensors and elements.
    pub(crate) fn totals(&self) -> (u64, u64, u64) {
        (self.pieces.len() as u64, self.tensors.len() as u64, self.elements)
    }

    /// The number of tensors with names, and of those without.
    pub(crate) fn named_and_unnamed(&self) -> (usize, usize) {
        (self.names.len(), self.unnamed)
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { groups: self.groups.len(), tensors: self.tensors.len() }
    }

    /// Removes everything that was added since the mark.
    pub(crate) fn undo_to(&mut self, mark: Mark) {
        for number in mark.tensors..self.tensors.len() {
            self.remove(number as u32);
        }
        self.tensors.truncate(mark.tensors);
        self.groups.truncate(mark.groups);
    }

    /// Adds a tensor to its group, if its place and its name are allowed.
    pub(crate) fn push(&mut self, tensor: Tensor) -> Result<u32, Error> {
        let (number, group) = (self.next_number(), tensor.group);
        self.tensors.push(None);
        self.put(number, tensor)?;
        if let Some(group) = self.groups.get_mut(group as usize) {
            group.add(number);
        }
        Ok(number)
    }

    /// Stores a tensor under a number that has none, if its place and its name are allowed.
    pub(crate) fn put(&mut self, number: u32, tensor: Tensor) -> Result<(), Error> {
        self.check_name(&tensor, number)?;
        let range = tensor.param_range(number);
        if let Err(conflict) = self.ranges.check_param(&range) {
            return Err(conflict.error(tensor.describe(number), self.describe_grad(conflict.second)));
        }
        if let Err(conflict) = self.ranges.insert_param(&range) {
            return Err(conflict.error(self.describe(conflict.first), tensor.describe(number)));
        }
        if let Some(range) = tensor.grad.map(|grad| tensor.grad_range(grad, number)) {
            if let Err(conflict) = self.ranges.check_grad(&range) {
                let param =
                    if conflict.first == number { tensor.describe(number) } else { self.describe(conflict.first) };
                self.ranges.remove_param(&tensor.param_range(number));
                return Err(conflict.error(param, tensor.describe_grad(number)));
            }
            self.ranges.insert_grad(&range);
        }
        match &tensor.name {
            Some(name) => {
                self.names.insert(name.clone(), number);
            }
            None => self.unnamed += 1,
        }
        self.elements += tensor.length;
        if let Some(slot) = self.tensors.get_mut(number as usize) {
            *slot = Some(tensor);
        }
        Ok(())
    }

    /// Removes a tensor from everything but its group, and releases its state.
    pub(crate) fn take(&mut self, number: u32) -> Option<Tensor> {
        self.release_state(number);
        self.drop_dead_pieces();
        let tensor = self.tensors.get_mut(number as usize)?.take()?;
        self.elements -= tensor.length;
        self.ranges.remove_param(&tensor.param_range(number));
        if let Some(grad) = tensor.grad {
            self.ranges.remove_grad(&tensor.grad_range(grad, number));
        }
        match &tensor.name {
            Some(name) => drop(self.names.remove(name)),
            None => self.unnamed -= 1,
        }
        Some(tensor)
    }

    /// Removes a parameter from its group and from everything else, and releases its state.
    pub(crate) fn remove(&mut self, number: u32) {
        let Some(tensor) = self.take(number) else { return };
        if let Some(group) = self.groups.get_mut(tensor.group as usize) {
            group.remove(number);
        }
    }

    /// Removes a group and its parameters. The groups behind it move up.
    pub(crate) fn remove_group(&mut self, group: usize) {
        if group >= self.groups.len() {
            return;
        }
        for id in self.groups.remove(group).params() {
            self.take(id.index);
        }
        if group < self.groups.len() {
            for tensor in self.tensors_mut().filter(|tensor| tensor.group as usize > group) {
                tensor.group -= 1;
            }
        }
    }

    /// Replaces a tensor's gradient, or removes it.
    pub(crate) fn set_grad(&mut self, number: u32, grad: Option<Spot>) {
        let Some(tensor) = self.tensors.get_mut(number as usize).and_then(Option::as_mut) else { return };
        if let Some(old) = tensor.grad {
            self.ranges.remove_grad(&tensor.grad_range(old, number));
        }
        if let Some(new) = grad {
            self.ranges.insert_grad(&tensor.grad_range(new, number));
        }
        tensor.grad = grad;
    }

    /// Names a tensor that has no name.
    pub(crate) fn set_name(&mut self, number: u32, name: String) {
        let Some(tensor) = self.tensors.get_mut(number as usize).and_then(Option::as_mut) else { return };
        if tensor.name.is_none() {
            self.unnamed -= 1;
            self.names.insert(name.clone(), number);
            tensor.name = Some(name);
        }
    }

    /// Checks that a gradient of the tensor may lie there.
    pub(crate) fn check_grad(&self, number: u32, grad: Spot) -> Result<(), Error> {
        let Some(tensor) = self.tensor(number) else { return Ok(()) };
        let clear = self.ranges.check_grad(&tensor.grad_range(grad, number));
        clear.map_err(|conflict| conflict.error(self.describe(conflict.first), tensor.describe_grad(number)))
    }

    pub(crate) fn describe(&self, number: u32) -> TensorLabel {
        self.tensor(number).map_or_else(|| TensorLabel::parameter(None, number), |tensor| tensor.describe(number))
    }

    fn describe_grad(&self, number: u32) -> TensorLabel {
        self.tensor(number).map_or_else(|| TensorLabel::gradient(None, number), |tensor| tensor.describe_grad(number))
    }

    /// Checks the rule for names: either all parameters have names, all different, or none has one.
    fn check_name(&self, tensor: &Tensor, number: u32) -> Result<(), Error> {
        let other = |is_named: bool| {
            let other = self.tensors().find(|(_, other)| other.name.is_some() == is_named);
            self.describe(other.map_or(number, |(other, _)| other))
        };
        match &tensor.name {
            Some(name) if self.names.contains_key(name) => Err(Error::DuplicateName { name: name.clone() }),
            Some(_) if self.unnamed > 0 => {
                Err(Error::MixedNames { named: tensor.describe(number), unnamed: other(false) })
            }
            None if !self.names.is_empty() => {
                Err(Error::MixedNames { named: other(true), unnamed: tensor.describe(number) })
            }
            _ => Ok(()),
        }
    }
}
