//! The caller's device: its handles and limits, error scopes around what is created on it, waiting, and slots leased to
//! encoders.

pub(crate) mod gpu;
pub(crate) mod guard;
pub(crate) mod leases;
pub(crate) mod limits;
pub(crate) mod wait;
