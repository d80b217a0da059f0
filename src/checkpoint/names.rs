//! What things are called in a file. A parameter's name may be any text: those of different parameters give different names of
//! tensors, for a parameter's name stands between a beginning and a key that has no dots.

use std::collections::BTreeMap;

use crate::error::tensor::TensorLabel;
use crate::planes::Plane;
use crate::state_dict::StateDict;

/// The metadata entry with groups and names.
pub(crate) const OPTIMIZER: &str = "optimizer";
/// The metadata entry with the dynamic loss scale.
pub(crate) const GRAD_SCALER: &str = "grad_scaler";
/// The metadata entry with the format's version; torch's own form has none.
pub(crate) const VERSION: &str = "wgpu_adam.version";
/// All entries that are the optimizer's own.
pub(crate) const ENTRIES: [&str; 3] = [OPTIMIZER, GRAD_SCALER, VERSION];
/// The key of a step count.
pub(crate) const STEP: &str = "step";

const STATE: &str = "optimizer.state.";
const MODEL: &str = "model.";

/// The tensor of a parameter's moment or step count.
pub(crate) fn state(param: &str, key: &str) -> String {
    format!("{STATE}{param}.{key}")
}

/// The tensor of a parameter's values.
pub(crate) fn model(param: &str) -> String {
    format!("{MODEL}{param}")
}

/// The parameter and the key that a tensor of state is named after. Keys have no dots; parameters may.
pub(crate) fn of_state(tensor: &str) -> Option<(&str, &str)> {
    tensor.strip_prefix(STATE)?.rsplit_once('.')
}

/// Whether a tensor is the optimizer's state: that of other kinds than torch's Adam has is somebody else's.
pub(crate) fn is_state(tensor: &str) -> bool {
    of_state(tensor).is_some_and(|(_, key)| is_state_key(key))
}

/// What each parameter is called in a file: its name, or its id where there are no names.
pub(crate) fn by_id(dict: &StateDict) -> BTreeMap<u64, String> {
    let mut all = BTreeMap::new();
    for group in &dict.param_groups {
        let mut names = group.param_names.iter().flatten();
        all.extend(group.params.iter().map(|id| (*id, names.next().map_or_else(|| id.to_string(), String::clone))));
    }
    all
}

/// How errors call the parameter that a tensor of state is of: by its name, or by its id where parameters have no names.
pub(crate) fn describe(tensor: &str, named: bool) -> TensorLabel {
    let param = of_state(tensor).map_or("", |(param, _)| param);
    if named { TensorLabel::named("parameter", param) } else { TensorLabel::other(format!("parameter {param}")) }
}

/// Whether a key is one of torch.optim.Adam's.
pub(crate) fn is_state_key(key: &str) -> bool {
    key == STEP || Plane::ALL.into_iter().any(|plane| plane.key() == key)
}
