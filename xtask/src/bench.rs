//! `cargo xtask bench`: the benchmark, in release, on every adapter.

use anyhow::Result;

use crate::run;
use crate::{adapters, drivers, swiftshader};

/// Builds the benchmark, finds an adapter with it (wgpu is compiled once) and runs it with the arguments.
pub fn run(arguments: &[&str]) -> Result<()> {
    const RUN: &str = "run --quiet --release --package wgpu-adam-bench --";
    run::run(&mut run::cargo("build --release --package wgpu-adam-bench"))?;
    let list = || Ok(swiftshader::added(run::cargo(&format!("{RUN} --list-adapters"))));
    adapters::ensure(list, &[], &drivers::VULKAN)?;
    run::run(swiftshader::added(run::cargo(RUN)).args(arguments))
}
