//! Everything that host and shaders must agree on: shared structs, bindings, overrides. `tests/shaders.rs` includes
//! this file and checks it against the WGSL with naga's reflection.

use bytemuck::{Pod, Zeroable};

/// `Hyper` in adam.wgsl: the numbers of one class for one step.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Hyper {
    pub exp_avg_weight: f32,
    pub exp_avg_sq_weight: f32,
    pub step_size: f32,
    pub denom_eps: f32,
    pub weight_decay: f32,
    pub grad_scale: f32,
    pub clip_value: f32,
    pub flags: u32,
}

/// `Frame` in adam.wgsl: one dispatch. Places are in elements from the start of their binding.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Frame {
    pub param: u32,
    pub grad: u32,
    pub moment: u32,
    pub length: u32,
    pub first_tile: u32,
    pub plane: u32,
    pub first_partial: u32,
}

/// `Tile` in adam.wgsl: a piece of a run, at most [`TILE_ELEMENTS`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Tile {
    pub param: u32,
    pub grad: u32,
    pub moment: u32,
    pub length_hyper: u32,
}

/// `Request` in control.wgsl without its array: the input of the device's decisions on a recorded step.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Request {
    pub flags: u32,
    pub classes: u32,
    pub stepping: u32,
    pub partials: u32,
    pub first_partial: u32,
    pub first_block: u32,
    pub max_norm: f32,
    pub grad_scale: f32,
    pub growth_factor: f32,
    pub backoff_factor: f32,
    pub growth_interval: u32,
    pub step_low: u32,
    pub step_high: u32,
    /// Makes the array behind begin at a multiple of 8.
    pub padding: u32,
}

/// `ClassRequest` in control.wgsl: the input of one hyper block.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct ClassRequest {
    pub hyper: Hyper,
    pub beta1: [u32; 2],
    pub beta2: [u32; 2],
    pub t: u32,
    pub tensor: u32,
    pub block: u32,
    pub lr: f32,
    pub eps: f32,
    pub least_eps: f32,
}

/// `State` in control.wgsl: the device's last decisions, and the loss scale.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct State {
    pub loss_scale: f32,
    pub growth_tracker: u32,
    pub found_inf_outside: u32,
    pub found_inf: u32,
    pub grad_norm: f32,
    pub clip_factor: f32,
    pub step_low: u32,
    pub step_high: u32,
    pub taken_low: u32,
    pub taken_high: u32,
    pub skipped_low: u32,
    pub skipped_high: u32,
}

/// Bits of `Hyper::flags`, with the names of adam.wgsl.
pub mod hyper_flags {
    #[allow(dead_code, reason = "control.wgsl alone sets it")]
    pub const SKIP: u32 = 1;
    pub const EXP_AVG_BETA: u32 = 2;
    pub const EXP_AVG_SQ_BETA: u32 = 4;
}

/// Bits of `Request::flags`, with the names of control.wgsl.
pub mod flags {
    pub const SKIP_NONFINITE: u32 = 1;
    pub const CLIP_NORM: u32 = 2;
    pub const INFINITY_NORM: u32 = 4;
    pub const DYNAMIC_SCALE: u32 = 8;
    pub const DEVICE_STEPS: u32 = 16;
    pub const FOUND_INF: u32 = 32;
}

/// The most elements in a tile record: 64 quads.
pub const TILE_ELEMENTS: u32 = 256;
/// Workgroups in a row of a folded grid, unless the device allows fewer.
pub const GRID_WIDTH: u32 = 16_384;
/// Elements whose squares one invocation of gradient_norm.wgsl sums: 16 quads.
pub const NORM_ELEMENTS: u32 = 64;
/// Hyper blocks that one dispatch can address: `hypers` in adam.wgsl. They take 16 KiB, which every device can bind.
pub const HYPERS: u32 = 512;
/// Invocations of a workgroup, unless the device allows fewer.
pub const WORKGROUP_SIZE: u32 = 256;

/// Workgroup storage of control.wgsl in bytes, as WebGPU counts it: each variable is rounded up to 16.
pub const CONTROL_WORKGROUP_STORAGE: u32 = 256 * 16 + 256 * 4 + 2 * 16;

/// The entry points of adam.wgsl, gradient_norm.wgsl, control.wgsl and move_counts.wgsl.
pub const ENTRY_POINT: &str = "adam";
pub const NORM_ENTRY_POINT: &str = "gradient_norm";
pub const CONTROL_ENTRY_POINT: &str = "control";
pub const MOVE_ENTRY_POINT: &str = "move_counts";

/// Bindings as (group, binding), with the names of the shaders.
pub mod binding {
    pub const PARAM: (u32, u32) = (0, 0);
    pub const GRAD: (u32, u32) = (0, 1);
    pub const MOMENTS: (u32, u32) = (0, 2);
    pub const TILES: (u32, u32) = (1, 0);
    pub const FRAME: (u32, u32) = (1, 1);
    pub const HYPERS: (u32, u32) = (2, 0);
    /// In gradient_norm.wgsl.
    pub const PARTIALS: (u32, u32) = (2, 0);
    /// In control.wgsl, like the three below.
    pub const LEDGER: (u32, u32) = (0, 0);
    pub const STATE: (u32, u32) = (0, 1);
    pub const SKIPPED: (u32, u32) = (0, 2);
    pub const REQUEST: (u32, u32) = (1, 0);
    /// In move_counts.wgsl, like the one below.
    pub const OUTGROWN: (u32, u32) = (0, 0);
    pub const GROWN: (u32, u32) = (0, 1);
}

/// The names of the overrides.
pub mod overrides {
    pub const WORKGROUP_SIZE: &str = "WORKGROUP_SIZE";
    pub const GRID_WIDTH: &str = "GRID_WIDTH";
    pub const QUADS_LOG2: &str = "QUADS_LOG2";
    pub const TILED: &str = "TILED";
    pub const NEIGHBOURS: &str = "NEIGHBOURS";
    pub const LARGEST: &str = "LARGEST";
    pub const AT_START: &str = "AT_START";
    pub const AMSGRAD: &str = "AMSGRAD";
    pub const DECOUPLED_WEIGHT_DECAY: &str = "DECOUPLED_WEIGHT_DECAY";
    pub const GRADIENT_CONTROL: &str = "GRADIENT_CONTROL";
    pub const CLIP_VALUE: &str = "CLIP_VALUE";
    pub const GRAD_IN_PARAM_BUFFER: &str = "GRAD_IN_PARAM_BUFFER";
}
