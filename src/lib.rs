#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

// Each folder is a floor. Imports point down this list.
mod optimizer;

mod record;

#[cfg(feature = "safetensors")]
mod checkpoint;

mod control;

mod state_dict;

mod kernels;

mod registry;

mod plan;

mod tensors;

mod transfer;

mod device;

mod options;

mod error;
mod layout;
mod planes;
mod sort;

#[cfg(feature = "safetensors")]
pub use checkpoint::Checkpoint;
#[cfg(feature = "safetensors")]
pub use checkpoint::contents::CheckpointContents;
#[cfg(feature = "safetensors")]
pub use checkpoint::dtype::Dtype;
#[cfg(feature = "safetensors")]
pub use checkpoint::tensor::CheckpointTensor;
pub use control::statistics::StepStatistics;
pub use error::Error;
#[cfg(feature = "safetensors")]
pub use error::checkpoint::CheckpointError;
pub use error::state_dict::StateDictError;
pub use error::tensor::TensorLabel;
pub use optimizer::WgpuAdam;
pub use optimizer::gradients::ZeroGrad;
pub use optimizer::state::{ParamInfo, ParamState, StatePiece};
pub use optimizer::surgery::Moments;
pub use options::adam::AdamConfig;
pub use options::grad_scaler::GradScalerState;
pub use options::gradient_control::{GradientControl, LossScale, NormType};
pub use registry::group::{Group, ParamId};
pub use state_dict::load_options::LoadOptions;
pub use state_dict::matching::StateMatching;
pub use state_dict::{StateDict, StateGroup, TensorState};
pub use tensors::arena::TensorArena;
pub use tensors::group::{ParamGroup, ParamGroups};
pub use tensors::tensor::{Param, TensorBuffer};
/// The version of wgpu whose devices, queues and buffers this crate accepts.
pub use wgpu;
