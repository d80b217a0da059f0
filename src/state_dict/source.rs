//! Loading from a state dict: its options, the checks of its entries, its bytes.

use super::{MAX_STEP, StateDict, StateGroup, TensorState};
use crate::error::Error;
use crate::error::state_dict::StateDictError;
use crate::options::adam::AdamConfig;
use crate::options::entries::Entry;
use crate::planes::Plane;
use crate::registry::tensor::Tensor;
use crate::transfer::upload::{Bytes, What};

impl Bytes for StateDict {
    fn read(&self, id: u64, what: What, start: u64, into: &mut [u8]) -> Result<(), Error> {
        let What::State(plane) = what else {
            return Err(Error::StateDict(StateDictError::Id { id, problem: "has no values" }));
        };
        let moment = self.state.get(&id).and_then(|entry| entry.plane(plane));
        let bytes = moment.and_then(|moment| {
            let bytes: &[u8] = bytemuck::cast_slice(moment);
            bytes.get(start as usize..start as usize + into.len())
        });
        // Lengths were checked.
        into.copy_from_slice(
            bytes.ok_or(Error::StateDict(StateDictError::Id { id, problem: "has moments that are too short" }))?,
        );
        Ok(())
    }
}

impl StateGroup {
    /// The options. Those that older torch versions do not save are false.
    pub(crate) fn config(&self, group: usize) -> Result<AdamConfig, Error> {
        let mut options = self.options();
        for entry in options.each() {
            // Older torch versions do not save flags, which are then false.
            if entry.value().is_none() && !matches!(entry, Entry::Flag(..)) {
                return Err(StateDictError::MissingOption { group, option: entry.key() }.into());
            }
        }
        Ok(options.over(&AdamConfig::default()))
    }
}

impl TensorState {
    /// Checks that the entry has the tensor's shape, the moments that the group needs, and a step count that can
    /// continue.
    pub(crate) fn check_shape(&self, tensor: &Tensor, number: u32, amsgrad: bool) -> Result<(), Error> {
        let wrong = |key, problem| {
            Err(Error::StateDict(StateDictError::Entry { tensor: tensor.describe(number), key, problem }))
        };
        if self.shape != tensor.shape {
            return wrong("shape", format!("is {:?} instead of {:?}", self.shape, tensor.shape));
        }
        if self.step > MAX_STEP {
            return wrong("step", format!("is {}; it must be at most 2^53", self.step));
        }
        if amsgrad && self.step > 0 && self.max_exp_avg_sq.is_none() {
            return wrong(Plane::MaxExpAvgSq.key(), "is missing, and the group uses amsgrad".into());
        }
        Ok(())
    }
}
