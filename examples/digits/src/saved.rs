//! A training run on the host: all that another device needs to go on with it.

use wgpu_adam::StateDict;

/// A run between two steps, from [`Trainer::save`](crate::Trainer::save).
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    /// Steps taken.
    pub steps: u64,
    /// The values of [`PARAMETERS`](crate::model::PARAMETERS), in their order.
    pub parameters: Vec<Vec<f32>>,
    /// The optimizer's state and options.
    pub adam: StateDict,
}
