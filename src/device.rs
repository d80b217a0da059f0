//! The caller's device: its handles, error scopes around what is made on it, waiting, and slots lent to encoders.

pub(crate) mod gpu;
pub(crate) mod guard;
pub(crate) mod leases;
pub(crate) mod wait;
