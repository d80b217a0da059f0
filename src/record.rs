//! A step on its way into an encoder: a plan made ready, and what each step writes.

pub(crate) mod bound;
pub(crate) mod bound_control;
pub(crate) mod clears;
mod hyper;
pub(crate) mod prepared;
pub(crate) mod request;
pub(crate) mod slots;
