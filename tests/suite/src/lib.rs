//! Shared parts of wgpu-adam's tests: adapters, readback, a float64 Adam, and the golden cases with their judge.
//!
//! A test is a [`Body`]: an async function of a [`Gpu`] that never blocks. The native harness runs every body on every
//! adapter of the machine; a browser runs the same bodies in a page.

pub mod adapter;
mod averages;
pub mod calls;
mod changes;
mod checkpoints;
mod control;
pub mod decay;
pub mod dump;
pub mod fixed_point;
pub mod golden;
mod golden_bodies;
mod gradients;
mod growth;
pub mod judge;
pub mod lost_device;
mod mistakes;
mod numbers;
mod ordering;
mod parts;
mod placing;
pub mod plain;
pub mod program;
pub mod readback;
pub mod reference;
pub mod replay;
mod sharing;
mod states;
pub mod stats;
mod surgery;
mod torch_suite;
pub mod twin;
pub mod values;
mod verbs;

use std::{fmt, sync::LazyLock};

use anyhow::Result;
use futures::future::LocalBoxFuture;

pub use adapter::Gpu;
pub use golden_bodies::golden_case;

/// A test. It fails by returning an error, or if the device reports one (see [`Gpu::check_errors`]).
pub type Body = for<'a> fn(&'a Gpu) -> LocalBoxFuture<'a, Result<()>>;

/// The error of a body that has nothing to test here. Harnesses report it as ignored, not as passed.
#[derive(Debug)]
pub struct Skipped(pub String);

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "skipped: {}", self.0)
    }
}

impl std::error::Error for Skipped {}

/// A row of a table of bodies.
macro_rules! body {
    ($name:expr, $gpu:ident => $test:expr) => {
        ($name, |$gpu| Box::pin($test))
    };
}
use body;

/// Every test body with its name. To add a module of bodies, add its table here.
pub fn bodies() -> &'static [(&'static str, Body)] {
    static ALL: LazyLock<Vec<(&'static str, Body)>> = LazyLock::new(|| {
        [
            readback::BODIES,
            golden_bodies::BODIES,
            placing::BODIES,
            parts::BODIES,
            numbers::BODIES,
            averages::BODIES,
            decay::BODIES,
            ordering::BODIES,
            sharing::BODIES,
            gradients::BODIES,
            mistakes::BODIES,
            states::BODIES,
            checkpoints::BODIES,
            surgery::BODIES,
            growth::BODIES,
            verbs::BODIES,
            changes::BODIES,
            lost_device::BODIES,
            torch_suite::BODIES,
            control::BODIES,
        ]
        .concat()
    });
    &ALL
}
