//! How errors name tensors.

use std::fmt::{Display, Formatter, Result};

/// The tensor that an error is about. Displayed as `parameter "layer0.weight"`, `gradient of "layer0.weight"` or,
/// without a name, `parameter 3`.
///
/// ```
/// # fn demo(error: wgpu_adam::Error) {
/// if let wgpu_adam::Error::BufferTooSmall { tensor, .. } = error {
///     println!("make the buffer of {} larger", tensor.name.as_deref().unwrap_or("a parameter"));
/// }
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TensorLabel {
    /// The parameter's name, if it has one.
    pub name: Option<String>,
    text: String,
}

impl TensorLabel {
    /// Labels a parameter by its name or, if it has none, by its number.
    pub(crate) fn parameter(name: Option<&str>, number: u32) -> Self {
        name.map_or_else(|| Self::other(format!("parameter {number}")), |name| Self::named("parameter", name))
    }

    /// Labels the gradient of a parameter.
    pub(crate) fn gradient(name: Option<&str>, number: u32) -> Self {
        let unnamed = || Self::other(format!("gradient of parameter {number}"));
        name.map_or_else(unnamed, |name| Self::named("gradient of", name))
    }

    /// Labels a tensor of this kind and name.
    pub(crate) fn named(kind: &str, name: &str) -> Self {
        Self { name: Some(name.to_owned()), text: format!("{kind} \"{name}\"") }
    }

    /// Labels a part of the tensor, such as `exp_avg of parameter "layer0.weight"`.
    pub(crate) fn part(&self, part: &str) -> Self {
        Self { name: self.name.clone(), text: format!("{part} of {}", self.text) }
    }

    /// Labels a tensor without a name.
    pub(crate) fn other(text: impl Into<String>) -> Self {
        Self { name: None, text: text.into() }
    }
}

impl Display for TensorLabel {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(&self.text)
    }
}
