//! State dicts: an optimizer's state on the host, in torch's terms.

pub(crate) mod load_options;
pub(crate) mod matching;
pub(crate) mod received;
mod source;
pub(crate) mod spoiled;
mod table;

use std::collections::BTreeMap;

use crate::error::Error;
use crate::error::state_dict::StateDictError;
use crate::options::adam::AdamConfig;
use crate::options::entries::Entries;
use crate::options::grad_scaler::GradScalerState;
use crate::planes::{Plane, Planes};

/// An optimizer's state on the host. Holds what torch's `state_dict()` holds, the groups' options and each parameter's
/// moments and step count, and what the `state_dict()` of `torch.amp.GradScaler` holds.
///
/// Parameters have packed ids: 0, 1, 2, ... over all groups in order, as [`params`](crate::WgpuAdam::params) lists them. A parameter that has taken no step has no entry
/// in `state`. Values of parameters are not included, as in torch. `Display` prints a table with one line for each
/// parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct StateDict {
    /// The version of the dict's meaning, [`StateDict::VERSION`] for dicts that this crate makes. A dict of a later
    /// version is refused.
    pub version: u32,
    /// The parameters' entries, by id.
    pub state: BTreeMap<u64, TensorState>,
    /// The groups' entries, in the order of the groups.
    pub param_groups: Vec<StateGroup>,
    /// The dynamic loss scale that is in force, or one that was loaded while none was in force. `None` also if the
    /// scale has backed off so far that its reciprocal is infinite, because no run can continue from it.
    pub grad_scaler: Option<GradScalerState>,
}

impl StateDict {
    /// The version that this crate writes, and the latest that it reads.
    pub const VERSION: u32 = 1;

    /// Returns an error for versions that do not exist, or not yet.
    pub(crate) fn check_version(&self) -> Result<(), Error> {
        let (version, known) = (self.version, Self::VERSION);
        if (1..=known).contains(&version) {
            Ok(())
        } else {
            Err(Error::StateDict(StateDictError::Version { version, known }))
        }
    }
}

impl Default for StateDict {
    fn default() -> Self {
        Self { version: Self::VERSION, state: BTreeMap::new(), param_groups: Vec::new(), grad_scaler: None }
    }
}

/// A parameter's entry in a state dict.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TensorState {
    /// t: the number of steps taken, at most 2^53, because torch counts in floats.
    pub step: u64,
    /// The parameter's shape.
    pub shape: Vec<usize>,
    /// The running average of the gradient. Row-major, as the others are.
    pub exp_avg: Vec<f32>,
    /// The running average of its square.
    pub exp_avg_sq: Vec<f32>,
    /// The largest `exp_avg_sq` so far, where amsgrad is or was used.
    pub max_exp_avg_sq: Option<Vec<f32>>,
}

impl TensorState {
    /// Makes an entry with empty planes.
    pub(crate) fn new(step: u64, shape: Vec<usize>, planes: Planes) -> Self {
        let max_exp_avg_sq = planes.has(Plane::MaxExpAvgSq).then(Vec::new);
        Self { step, shape, max_exp_avg_sq, ..Self::default() }
    }

    /// Returns the planes that the entry has.
    pub(crate) fn planes(&self) -> Planes {
        Planes::new(self.max_exp_avg_sq.is_some())
    }

    pub(crate) fn plane(&self, plane: Plane) -> Option<&Vec<f32>> {
        match plane {
            Plane::ExpAvg => Some(&self.exp_avg),
            Plane::ExpAvgSq => Some(&self.exp_avg_sq),
            Plane::MaxExpAvgSq => self.max_exp_avg_sq.as_ref(),
        }
    }

    /// Returns the planes with their numbers.
    pub(crate) fn moments(&self) -> impl Iterator<Item = (Plane, &Vec<f32>)> {
        Plane::ALL.into_iter().filter_map(|plane| Some((plane, self.plane(plane)?)))
    }

    /// Returns the planes with their numbers, to be filled.
    pub(crate) fn moments_mut(&mut self) -> impl Iterator<Item = (Plane, &mut Vec<f32>)> {
        let all = [Some(&mut self.exp_avg), Some(&mut self.exp_avg_sq), self.max_exp_avg_sq.as_mut()];
        Plane::ALL.into_iter().zip(all).filter_map(|(plane, moment)| Some((plane, moment?)))
    }
}

/// The largest step count that is loaded. f64 holds all whole numbers up to here, and counting on cannot overflow.
pub(crate) const MAX_STEP: u64 = 1 << 53;

/// A group's entry in a state dict.
///
/// Options are optional because a dict may come from an older torch. When a dict is loaded, missing `amsgrad`,
/// `maximize` and `decoupled_weight_decay` mean false, as in torch; the others are required.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "the options are documented at AdamConfig")]
pub struct StateGroup {
    pub lr: Option<f64>,
    pub betas: Option<(f64, f64)>,
    pub eps: Option<f64>,
    pub weight_decay: Option<f64>,
    pub amsgrad: Option<bool>,
    pub maximize: Option<bool>,
    pub decoupled_weight_decay: Option<bool>,
    /// What else the group holds, each value as JSON: for example torch's `foreach` and `fused`, or a scheduler's
    /// `initial_lr`. An optimizer keeps these from loading to saving and does not use them.
    pub extra: BTreeMap<String, String>,
    /// The ids of the group's parameters, in order.
    pub params: Vec<u64>,
    /// Their names, if they have names.
    pub param_names: Option<Vec<String>>,
}

impl StateGroup {
    /// Makes a group's entry with all of its options.
    #[must_use]
    pub fn new(config: &AdamConfig, params: Vec<u64>, param_names: Option<Vec<String>>) -> Self {
        Self { params, param_names, ..Self::with_options(config.into()) }
    }

    /// An entry with these options.
    pub(crate) fn with_options(options: Entries) -> Self {
        let Entries { lr, betas, eps, weight_decay, amsgrad, maximize, decoupled_weight_decay } = options;
        let (extra, params, param_names) = (BTreeMap::new(), Vec::new(), None);
        Self { lr, betas, eps, weight_decay, amsgrad, maximize, decoupled_weight_decay, extra, params, param_names }
    }

    /// The options that the entry has.
    pub(crate) fn options(&self) -> Entries {
        let &Self { lr, betas, eps, weight_decay, amsgrad, maximize, decoupled_weight_decay, .. } = self;
        Entries { lr, betas, eps, weight_decay, amsgrad, maximize, decoupled_weight_decay }
    }
}
