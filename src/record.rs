//! A step on its way into an encoder.
//!
//! - [`stepper`]: keeps what the next steps record up to date; [`prepared`]: that itself.
//! - [`bound`], [`bound_control`]: a plan's pipelines, bind groups and buffers.
//! - [`step`]: one step, recorded. It writes hyper blocks ([`hyper`]), or a [`request`] for them, into one of the [`slots`].
//! - [`clears`]: what fills gradients with zeros.

pub(crate) mod bound;
pub(crate) mod bound_control;
pub(crate) mod clears;
mod hyper;
pub(crate) mod prepared;
pub(crate) mod request;
pub(crate) mod slots;
mod step;
pub(crate) mod stepper;
