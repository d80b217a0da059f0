//! Histories: which tensors have skipped equally many steps. Only the device knows how many.
//!
//! Tensors of one history get different histories when only some of them step, because the device may skip some of
//! those steps. They get one history again when the device has reported equal counts of skipped steps for them and they
//! have stepped together since.

use std::collections::{HashMap, HashSet};

use super::Registry;
use super::tensor::Tensor;

impl Tensor {
    /// Gives a tensor the history of the tensor that it replaces: both have skipped the same steps. If the count of the
    /// new one is cleared, its step count separates it from the others of that history.
    pub(crate) fn keep_history(&mut self, of: &Self) {
        (self.history, self.history_since) = (of.history, of.history_since);
    }
}

impl Registry {
    /// Resets all histories, because no step was skipped so far.
    pub(crate) fn forget_histories(&mut self) {
        self.tensors_mut().for_each(|tensor| (tensor.history, tensor.history_since) = (0, 0));
    }

    /// Splits each history whose tensors do not all step next, into those that do and those that do not. Does the same
    /// with the histories since the device was asked. Returns whether any was split.
    pub(crate) fn split_histories(&mut self) -> bool {
        let since = self.part(|tensor| &mut tensor.history_since);
        self.part(|tensor| &mut tensor.history) || since
    }

    fn part(&mut self, history: impl Fn(&mut Tensor) -> &mut u32) -> bool {
        let mut next = 0;
        let mut stepping = HashSet::new();
        for tensor in self.tensors_mut() {
            let (steps, history) = (tensor.grad.is_some(), *history(tensor));
            next = next.max(history + 1);
            if steps {
                stepping.insert(history);
            }
        }
        let mut apart = HashMap::new();
        for tensor in self.tensors_mut().filter(|tensor| tensor.grad.is_none()) {
            let history = history(tensor);
            if stepping.contains(history) {
                *history = *apart.entry(*history).or_insert_with(|| {
                    next += 1;
                    next - 1
                });
            }
        }
        !apart.is_empty()
    }

    /// Notes that the device was asked for the counts of skipped steps.
    pub(crate) fn begin_since(&mut self) {
        self.tensors_mut().for_each(|tensor| tensor.history_since = 0);
    }

    /// Merges the histories of tensors that had skipped equally many steps when the device was asked, and have stepped
    /// together since. `skipped` holds the counts by tensor number. Returns whether there are fewer histories now.
    pub(crate) fn merge_histories(&mut self, skipped: &[u32]) -> bool {
        let mut before = HashSet::new();
        let mut after = HashMap::new();
        let mut joined = Vec::new();
        for (number, tensor) in self.tensors() {
            before.insert(tensor.history);
            let next = after.len() as u32;
            // A tensor that was added after the question had skipped nothing.
            let key = (skipped.get(number as usize).copied().unwrap_or(0), tensor.history_since);
            joined.push(*after.entry(key).or_insert(next));
        }
        let is_fewer = after.len() < before.len();
        if is_fewer {
            for (tensor, history) in self.tensors_mut().zip(joined) {
                tensor.history = history;
            }
        }
        is_fewer
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::Place;
    use crate::registry::Registry;
    use crate::registry::tensor::{Spot, Tensor};

    /// A registry of tensors that all have a gradient, in one buffer each for parameters and for gradients.
    fn stepping(tensors: u32) -> Registry {
        let spot = |buffer, number: u32| Spot { place: Place { buffer, start: u64::from(number) }, padding: 0 };
        let mut registry = Registry::default();
        for number in 0..tensors {
            let mut tensor = Tensor::new(None, vec![1], 1, 0, spot(0, number));
            tensor.grad = Some(spot(1, number));
            registry.push(tensor).unwrap();
        }
        registry
    }

    fn histories(registry: &Registry) -> Vec<u32> {
        registry.tensors().map(|(_, tensor)| tensor.history).collect()
    }

    /// Tensors that had skipped equally many steps when the device was asked, but did not step together since, stay
    /// apart: one of them may have skipped more by now.
    #[test]
    fn parted_since_the_question_stay_apart() {
        let mut registry = stepping(3);
        let grads = [0, 1].map(|number| registry.tensor(number).unwrap().grad);
        registry.set_grad(0, None);
        assert!(registry.split_histories(), "0 is split off");
        registry.set_grad(0, grads[0]);
        assert!(!registry.split_histories(), "all step");
        registry.begin_since();
        registry.set_grad(1, None);
        assert!(registry.split_histories(), "1 is split off");
        registry.set_grad(1, grads[1]);
        assert!(registry.merge_histories(&[4, 4, 4]), "there are fewer histories");
        let after = histories(&registry);
        assert!(after[0] == after[2] && after[0] != after[1], "{after:?}");
    }

    /// Tensors that are already apart may be split again after the question. The device must then be asked once more.
    #[test]
    fn parting_since_the_question_counts() {
        let mut registry = stepping(2);
        let grad = registry.tensor(0).unwrap().grad;
        registry.set_grad(0, None);
        assert!(registry.split_histories(), "0 is split off");
        registry.set_grad(0, grad);
        registry.begin_since();
        registry.set_grad(0, None);
        let before = histories(&registry);
        assert!(registry.split_histories(), "0 is split off again");
        assert_eq!(histories(&registry), before);
        assert!(!registry.merge_histories(&[4, 4]), "equal counts, but split since");
    }
}
