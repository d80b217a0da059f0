//! Options, with torch's names, defaults and ranges.

pub(crate) mod adam;
pub(crate) mod grad_scaler;
pub(crate) mod gradient_control;
