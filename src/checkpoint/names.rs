//! Names in a file. A parameter's name may be any text. Tensors of different parameters still have different names,
//! because a parameter's name stands between a fixed beginning and a key that has no dots.

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
/// All entries that belong to the optimizer.
pub(crate) const ENTRIES: [&str; 3] = [OPTIMIZER, GRAD_SCALER, VERSION];
/// The key of a step count.
pub(crate) const STEP: &str = "step";

const STATE: &str = "optimizer.state.";
const MODEL: &str = "model.";

/// The name of the tensor that holds a parameter's moment or step count.
pub(crate) fn state(param: &str, key: &str) -> String {
    format!("{STATE}{param}.{key}")
}

/// The name of the tensor that holds a parameter's values.
pub(crate) fn model(param: &str) -> String {
    format!("{MODEL}{param}")
}

/// Returns the parameter and the key in the name of a tensor of state. Keys have no dots; parameters may have some.
pub(crate) fn of_state(tensor: &str) -> Option<(&str, &str)> {
    tensor.strip_prefix(STATE)?.rsplit_once('.')
}

/// Whether a tensor is the optimizer's state. State with keys that torch's Adam does not have belongs to someone else.
pub(crate) fn is_state(tensor: &str) -> bool {
    of_state(tensor).is_some_and(|(_, key)| is_state_key(key))
}

/// Each parameter's name in a file: its own name, or its id if there are no names.
pub(crate) fn by_id(dict: &StateDict) -> BTreeMap<u64, String> {
    let mut all = BTreeMap::new();
    for group in &dict.param_groups {
        let mut names = group.param_names.iter().flatten();
        all.extend(group.params.iter().map(|id| (*id, names.next().map_or_else(|| id.to_string(), String::clone))));
    }
    all
}

/// Describes in errors the parameter to which a tensor of state belongs: by its name, or by its id if there are no
/// names.
pub(crate) fn describe(tensor: &str, named: bool) -> TensorLabel {
    let param = of_state(tensor).map_or("", |(param, _)| param);
    if named { TensorLabel::named("parameter", param) } else { TensorLabel::other(format!("parameter {param}")) }
}

/// Whether a key is one of torch.optim.Adam's.
pub(crate) fn is_state_key(key: &str) -> bool {
    key == STEP || Plane::ALL.into_iter().any(|plane| plane.key() == key)
}
