//! Options with torch's words, defaults and ranges.

pub(crate) mod adam;
pub(crate) mod grad_scaler;
pub(crate) mod gradient_control;
