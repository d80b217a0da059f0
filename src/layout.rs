//! Everything that host and shaders must agree on: shared structs, bindings, overrides. Held against the WGSL by naga's
//! reflection in `tests/shaders.rs`, which includes this file.

use bytemuck::{Pod, Zeroable};

/// `Hyper` in adam.wgsl: what one group with one step count needs at one step.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Hyper {
    pub exp_avg_weight: f32,
    pub exp_avg_keep: f32,
    pub exp_avg_sq_weight: f32,
    pub exp_avg_sq_keep: f32,
    pub step_size: f32,
    pub denom_eps: f32,
    pub weight_decay: f32,
    pub grad_sign: f32,
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
    pub workgroups_x: u32,
}

/// `Tile` in adam.wgsl: a piece of a run for [`TILE_INVOCATIONS`] invocations.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Tile {
    pub param: u32,
    pub grad: u32,
    pub moment: u32,
    pub length_hyper: u32,
}

/// Invocations that share a tile record.
pub const TILE_INVOCATIONS: u32 = 32;
/// Elements that an invocation of a flat dispatch steps: a quad.
pub const FLAT_ELEMENTS: u32 = 4;
/// The most elements a tile record holds: two quads an invocation.
pub const TILE_ELEMENTS: u32 = TILE_INVOCATIONS * 8;
/// Hyper blocks that one dispatch can reach: `hypers` in adam.wgsl, 16 KiB, the least that any device binds.
pub const HYPERS: u32 = 512;
/// Invocations of a workgroup, unless the device allows fewer.
pub const WORKGROUP_SIZE: u32 = 256;

/// The entry point of adam.wgsl.
pub const ENTRY_POINT: &str = "adam";

/// Bindings as (group, binding), named as in the shaders.
pub mod binding {
    pub const PARAM: (u32, u32) = (0, 0);
    pub const GRAD: (u32, u32) = (0, 1);
    pub const MOMENTS: (u32, u32) = (0, 2);
    pub const TILES: (u32, u32) = (1, 0);
    pub const FRAME: (u32, u32) = (1, 1);
    pub const HYPERS: (u32, u32) = (2, 0);
}

/// The names of the overrides.
pub mod overrides {
    pub const WORKGROUP_SIZE: &str = "WORKGROUP_SIZE";
    pub const TILED: &str = "TILED";
    pub const AMSGRAD: &str = "AMSGRAD";
    pub const DECOUPLED_WEIGHT_DECAY: &str = "DECOUPLED_WEIGHT_DECAY";
    pub const GRAD_IN_PARAM_BUFFER: &str = "GRAD_IN_PARAM_BUFFER";
}
