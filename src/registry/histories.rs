//! Histories: which tensors have skipped as many steps, where the device alone knows how many.
//!
//! Tensors of one history that do not step together part: of the steps that some of them take, the device may skip some.
//! They rejoin when it has answered how many each has skipped, if those are as many.

use std::collections::{HashMap, HashSet};

use super::Registry;
use super::tensor::Tensor;

impl Tensor {
    /// Takes the place of a tensor: it has skipped what that has. Where its count is cleared, its steps tell it apart from
    /// others of that history.
    pub(crate) fn keep_history(&mut self, of: &Self) {
        (self.history, self.history_since) = (of.history, of.history_since);
    }
}

impl Registry {
    /// No step was skipped so far.
    pub(crate) fn forget_histories(&mut self) {
        self.tensors_mut().for_each(|tensor| (tensor.history, tensor.history_since) = (0, 0));
    }

    /// Separates the tensors that step next from those that do not, where they have had one history so far, or one since the
    /// device was asked. Whether there were any.
    pub(crate) fn part_histories(&mut self) -> bool {
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

    /// Brings together the histories of tensors that had skipped as many steps when the device was asked, by the tensors'
    /// numbers, and have stepped together since. Whether there are fewer histories now.
    pub(crate) fn rejoin_histories(&mut self, skipped: &[u32]) -> bool {
        let mut before = HashSet::new();
        let mut after = HashMap::new();
        let mut joined = Vec::new();
        for (number, tensor) in self.tensors() {
            before.insert(tensor.history);
            let next = after.len() as u32;
            // A tensor that was added behind the question had skipped nothing.
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

    /// Those that have skipped as many steps when the device was asked, and did not step together since, stay apart: one of
    /// them may have skipped more by now.
    #[test]
    fn parted_since_the_question_stay_apart() {
        let mut registry = stepping(3);
        let grads = [0, 1].map(|number| registry.tensor(number).unwrap().grad);
        registry.set_grad(0, None);
        assert!(registry.part_histories(), "0 parts");
        registry.set_grad(0, grads[0]);
        assert!(!registry.part_histories(), "all step");
        registry.begin_since();
        registry.set_grad(1, None);
        assert!(registry.part_histories(), "1 parts");
        registry.set_grad(1, grads[1]);
        assert!(registry.rejoin_histories(&[4, 4, 4]), "fewer");
        let after = histories(&registry);
        assert!(after[0] == after[2] && after[0] != after[1], "{after:?}");
    }

    /// What is apart already may part anew since the question: then the device is to be asked once more.
    #[test]
    fn parting_since_the_question_counts() {
        let mut registry = stepping(2);
        let grad = registry.tensor(0).unwrap().grad;
        registry.set_grad(0, None);
        assert!(registry.part_histories(), "0 parts");
        registry.set_grad(0, grad);
        registry.begin_since();
        registry.set_grad(0, None);
        let before = histories(&registry);
        assert!(registry.part_histories(), "0 parts since");
        assert_eq!(histories(&registry), before);
        assert!(!registry.rejoin_histories(&[4, 4]), "as many, and parted since");
    }
}
