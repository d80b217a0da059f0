//! Recording a step into an encoder.
//!
//! - [`stepper`]: keeps what the next steps record up to date. [`prepared`]: what they record.
//! - [`bound`], [`bound_control`]: a plan's pipelines, bind groups and buffers.
//! - [`step`]: records one step. It writes hyper blocks ([`hyper`]), or a [`request`] for them, into one of the
//!   [`slots`].
//! - [`clears`]: fills gradients with zeros.

pub(crate) mod bound;
pub(crate) mod bound_control;
pub(crate) mod clears;
mod hyper;
pub(crate) mod prepared;
pub(crate) mod request;
pub(crate) mod slots;
mod step;
pub(crate) mod stepper;
