//! What can be wrong with a state dict.

use super::list;
use super::tensor::TensorLabel;

/// Why a state dict cannot be loaded or saved. Nothing has changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StateDictError {
    /// The state dict has a later version than this crate knows, or version 0, which never existed.
    #[error(
        "the state dict has version {version}, and this crate knows versions 1 to {known}; a later one needs a newer crate"
    )]
    Version {
        /// The dict's version.
        version: u32,
        /// The latest version that this crate knows.
        known: u32,
    },

    /// The state dict and the optimizer have different numbers of groups.
    #[error("the state dict has {}, the optimizer {current}; add or leave out groups first",
        list::count(*.saved as u64, "parameter group")
   )]
    Groups {
        /// The number of the state dict's groups.
        saved: usize,
        /// The number of the optimizer's groups.
        current: usize,
    },

    /// A group of the state dict and the optimizer's group have different numbers of parameters.
    #[error("group {group} of the state dict has {}, that of the optimizer {current}",
        list::count(*.saved as u64, "parameter")
   )]
    GroupSize {
        /// The group.
        group: usize,
        /// The state dict's number.
        saved: usize,
        /// The optimizer's number.
        current: usize,
    },

    /// The names in the state dict are not the optimizer's.
    #[error(
        "the state dict has other parameters than the optimizer, by their names: only the state dict has {}, only the optimizer \
         has {}; give parameters the names of the dict, or load with StateMatching::Partial what both have, or with \
         StateMatching::ByPosition in the order of the parameters",
        list::some_of(.only_saved), list::some_of(.only_current)
    )]
    Names {
        /// Names in the state dict alone.
        only_saved: Vec<String>,
        /// Names in the optimizer alone.
        only_current: Vec<String>,
    },

    /// Parameters were to be matched by name, but one side has no names.
    #[error(
        "StateMatching::Partial needs names on both sides, and the state dict or the optimizer does not name all parameters"
    )]
    WithoutNames,

    /// A group of the state dict lacks a required option.
    #[error("group {group} of the state dict has no {option}")]
    MissingOption {
        /// The group.
        group: usize,
        /// The option.
        option: &'static str,
    },

    /// An entry of the state dict does not fit its parameter, or holds numbers that no run reaches.
    #[error("{key} of {tensor} in the state dict {problem}")]
    Entry {
        /// The parameter.
        tensor: TensorLabel,
        /// exp_avg, exp_avg_sq, max_exp_avg_sq, step or shape.
        key: &'static str,
        /// What is wrong.
        problem: String,
    },

    /// The state dict has an entry whose id its groups do not list, or an id that they list twice.
    #[error("the state dict has an entry for id {id}, which {problem}")]
    Id {
        /// The id.
        id: u64,
        /// What is wrong with it.
        problem: &'static str,
    },

    /// A group of the state dict has names, but not one for each parameter.
    #[error("group {group} of the state dict has {} for its {}; name all or none",
        list::count(*.names as u64, "name"), list::count(*.params as u64, "parameter")
   )]
    GroupNames {
        /// The group.
        group: usize,
        /// The number of names.
        names: usize,
        /// The number of parameters.
        params: usize,
    },
}
