//! `cargo xtask demo`: the digits example, after ensuring that there is an adapter.

use anyhow::Result;

use crate::run;
use crate::{adapters, drivers};

/// Builds the example, which also lists the adapters (so that wgpu is compiled once), and runs it with the arguments.
pub fn run(arguments: &[&str]) -> Result<()> {
    run::run(&mut run::cargo("build --release --package digits"))?;
    let list = || Ok(run::cargo("run --quiet --release --package digits -- --list-adapters"));
    adapters::ensure(list, &[], &drivers::VULKAN)?;
    run::run(run::cargo("run --quiet --release --package digits --").args(arguments))
}
