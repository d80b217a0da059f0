#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod arena;
mod bound;
mod buffers;
#[cfg(feature = "safetensors")]
mod checkpoint;
mod config;
mod error;
mod gpu;
mod gradient_control;
mod gradients;
mod group;
mod guard;
mod hyper;
mod kernels;
mod layout;
mod load_options;
mod loading;
#[cfg(feature = "safetensors")]
mod map;
mod moments;
mod optimizer;
mod options;
mod plan;
mod prepared;
mod ranges;
mod readback;
mod record;
mod register;
mod registry;
mod saving;
mod sharing;
mod slots;
mod spoiled;
mod state;
mod state_dict;
mod statistics;
mod surgery;
mod tensor;
mod upload;
mod wait;

pub use arena::TensorArena;
#[cfg(feature = "safetensors")]
pub use checkpoint::{Checkpoint, CheckpointContents, CheckpointError, CheckpointLoad, CheckpointTensor, Dtype};
pub use config::AdamConfig;
pub use error::Error;
pub use gradient_control::{GradScalerState, GradientControl, LossScale, NormType};
pub use gradients::ZeroGrad;
pub use group::{Group, ParamGroup, ParamGroups};
pub use load_options::LoadOptions;
pub use optimizer::{ParamId, WgpuAdam};
pub use state::{ParamState, StatePiece};
pub use state_dict::matching::StateMatching;
pub use state_dict::{StateDict, StateGroup, TensorState};
pub use statistics::StepStatistics;
pub use surgery::Moments;
pub use tensor::{Param, TensorBuffer};
/// The wgpu whose devices, queues and buffers this crate takes.
pub use wgpu;
