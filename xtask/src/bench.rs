//! `cargo xtask bench`: the benchmark, in release, on every adapter; with `--peers` the comparison with other optimizers.

use anyhow::Result;

use crate::run;
use crate::{adapters, drivers, swiftshader};

/// The comparison's workspace: its own, because burn is long to compile and is needed nowhere else.
pub const PEERS: &str = "benches/peers/Cargo.toml";

/// Builds the benchmark, finds an adapter with it (wgpu is compiled once) and runs it with the arguments.
pub fn run(arguments: &[&str]) -> Result<()> {
    let peers = arguments.contains(&"--peers");
    let arguments: Vec<&str> = arguments.iter().copied().filter(|argument| *argument != "--peers").collect();
    let cargo = |verb: &str, rest: &str| {
        let mut cargo = run::cargo(&format!("{verb} --release"));
        if peers {
            cargo.arg("--manifest-path").arg(run::workspace_root().join(PEERS));
        } else {
            cargo.args(["--package", "wgpu-adam-bench"]);
        }
        cargo.args(rest.split_whitespace());
        cargo
    };

    // One adapter is compared on; it is SwiftShader only where one is named, for it would come first.
    let added =
        |command| if peers && !arguments.contains(&"--adapter") { command } else { swiftshader::added(command) };

    run::run(&mut cargo("build", ""))?;
    adapters::ensure(|| Ok(added(cargo("run --quiet", "-- --list-adapters"))), &[], &drivers::VULKAN)?;
    run::run(added(cargo("run --quiet", "--")).args(&arguments))
}
