//! The caller's device: its handles and limits, error scopes around what is made on it, waiting, and slots lent to encoders.

pub(crate) mod gpu;
pub(crate) mod guard;
pub(crate) mod leases;
pub(crate) mod limits;
pub(crate) mod wait;
