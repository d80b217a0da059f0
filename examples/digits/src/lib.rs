//! A classifier 64-128-10 of handwritten digits: forward, backward and Adam all run as WGSL compute shaders.
//!
//! This library holds the data, the model and the training loop, and never waits: everything that needs the GPU's
//! answer is a future. So the same code serves the terminal program of this package and a page in a browser. Weights
//! and batch order follow the integer rules of `data/digits_torch_run.py`, so that every loss can be compared with
//! torch's.

#![warn(missing_docs)]

mod batches;
mod buffers;
mod curves;
pub mod data;
pub mod model;
pub mod readback;
mod report;
pub mod rules;
mod saved;
mod stage;
mod subject;
#[cfg(not(target_family = "wasm"))]
pub mod torch_run;
pub mod training;

pub use curves::Curves;
pub use data::{Dataset, Digit};
pub use model::Model;
pub use report::{Report, Wanted};
pub use saved::Saved;
#[cfg(not(target_family = "wasm"))]
pub use torch_run::TorchRun;
pub use training::Trainer;
