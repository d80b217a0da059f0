//! [`torch.optim.Adam`](https://docs.pytorch.org/docs/stable/generated/torch.optim.Adam.html) as WGSL compute shaders on
//! [wgpu].
//!
//! You own the device, the buffers and the backward pass. [`WgpuAdam`] records the optimizer step into your command
//! encoder. It does not submit, wait or poll.
//!
//! ```no_run
//! use wgpu_adam::{AdamConfig, TensorArena, WgpuAdam, ZeroGrad};
//!
//! fn train(
//!     device: &wgpu::Device,
//!     queue: &wgpu::Queue,
//!     forward_and_backward: impl Fn(&mut wgpu::CommandEncoder, &TensorArena),
//! ) -> Result<(), wgpu_adam::Error> {
//!     // One buffer for all parameters, one for all gradients.
//!     let arena = TensorArena::new(device, [("layer0.weight", vec![128, 64]), ("layer0.bias", vec![128])])?;
//!     let mut adam = WgpuAdam::new(device, queue, arena.params(), AdamConfig { lr: 3e-3, ..Default::default() })?;
//!     for _ in 0..1000 {
//!         let mut encoder = device.create_command_encoder(&Default::default());
//!         adam.record_zero_grad(&mut encoder, ZeroGrad::Fill)?;
//!         forward_and_backward(&mut encoder, &arena); // binds arena.param(name)?, writes arena.grad(name)?
//!         adam.record_step(&mut encoder)?;
//!         queue.submit([encoder.finish()]);
//!     }
//!     let weights = pollster::block_on(arena.read_param(queue, "layer0.weight"))?;
//!     println!("{:?}", &weights[..4]);
//!     Ok(())
//! }
//! ```
//!
//! # Where to start
//!
//! - [`TensorArena`] makes the buffers of a model. [`Param`] describes a tensor in a buffer that you own.
//! - [`AdamConfig`] has the options, [`ParamGroup`] has them for some of the parameters.
//! - [`WgpuAdam::record_step`] records a step into your encoder; [`WgpuAdam::step`] submits one itself.
//! - [`GradientControl`] clips gradients, scales the loss and skips steps, all decided on the GPU.
//! - [`WgpuAdam::scale_lr`] is for schedules.
//! - [`WgpuAdam::state_dict`] and [`WgpuAdam::load_state_dict`] copy the state to the host and back, in torch's terms.
#![cfg_attr(
    all(feature = "safetensors", not(target_family = "wasm")),
    doc = "- [`WgpuAdam::save_checkpoint`] and [`WgpuAdam::load_checkpoint`] write the whole run to a file and read it."
)]
//! - [`WgpuAdam::record_replace_params`] is for models that grow and shrink.
//!
//! The package has longer documents: `README.md`, `docs/guide.md` (step by step), `docs/from-torch.md`,
//! `docs/splats.md`, `docs/javascript.md` and `docs/questions.md`.
//!
//! # Device
//!
//! Open the device with your own limits, merged with [`WgpuAdam::required_limits`]:
//! `limits.or_better_values_from(&WgpuAdam::required_limits())`. No optional feature is needed. This crate depends on
//! [wgpu] without its backends. Your own dependency on wgpu 30 chooses them; wgpu's default features have all.
//!
//! # Errors
//!
//! Methods return an [`Error`] with the name of the tensor and a remedy. After an error the optimizer is as it was before the
//! call, unless the method says otherwise. No public method panics.
//!
//! # Features
//!
//! - `safetensors`: checkpoint files. It adds the dependencies safetensors, serde and serde_json. Off by default.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]
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
/// The version of wgpu whose devices, queues and buffers this crate accepts. The same crate as your own dependency, if that
/// has the same major version.
pub use wgpu;

/// The code in the documents, compiled by `cargo test --doc`.
#[cfg(all(doctest, feature = "safetensors"))]
mod documents {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/guide.md")]
    struct Guide;
    #[doc = include_str!("../docs/from-torch.md")]
    struct FromTorch;
    #[doc = include_str!("../docs/splats.md")]
    struct Splats;
    #[doc = include_str!("../docs/javascript.md")]
    struct JavaScript;
    #[doc = include_str!("../docs/questions.md")]
    struct Questions;
}
