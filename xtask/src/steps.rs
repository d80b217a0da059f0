//! The steps of `cargo xtask test`, run in the workspace's folder.

use std::process::Command;

use anyhow::Result;

use crate::adapters::{self, Listing};
use crate::report::Outcome;
use crate::run::{built, cargo, command, run, target_dir, workspace_root};
use crate::toolchain::{MSRV, WASM, ensure_component, ensure_wasm_target, msrv_toolchain};
use crate::{bench, drivers, swiftshader};

pub fn formatting() -> Result<Outcome> {
    if let Err(reason) = ensure_component("rustfmt", "fmt") {
        return Ok(Outcome::NotDone(reason));
    }
    run(&mut cargo("fmt --all --check"))?;
    run(cargo("fmt --check --manifest-path").arg(workspace_root().join(bench::PEERS)))?;
    Ok(Outcome::Done)
}

pub fn clippy() -> Result<Outcome> {
    if let Err(reason) = ensure_component("clippy", "clippy") {
        return Ok(Outcome::NotDone(reason));
    }
    // Also without features, because in the workspace the tests enable them.
    run(&mut cargo("clippy -p wgpu-adam --lib -- -D warnings"))?;
    run(&mut cargo("clippy --workspace --all-targets -- -D warnings"))?;
    Ok(Outcome::Done)
}

pub fn msrv() -> Result<Outcome> {
    let Some(toolchain) = msrv_toolchain() else {
        let reason = format!("no toolchain {MSRV} is installed; clippy's incompatible_msrv was the check");
        return Ok(Outcome::NotDone(reason));
    };
    // A separate target folder, so that the two compilers do not invalidate each other's work.
    let mut check = command("rustup");
    check.args(["run", &toolchain, "cargo", "check", "-p", "wgpu-adam", "--lib", "--target-dir"]);
    run(check.arg(target_dir()?.join("msrv")))?;
    Ok(Outcome::Done)
}

/// Only a part of these programs is compiled natively.
const WASM_PROGRAMS: &str =
    "-p wgpu-adam-suite --bin page -p digits --bin digits -p wgpu-adam-bench-web --bin bench-web";

pub fn wasm() -> Result<Outcome> {
    if let Err(reason) = ensure_wasm_target().and_then(|()| ensure_component("clippy", "clippy")) {
        return Ok(Outcome::NotDone(reason));
    }
    // With and without checkpoints.
    for features in ["wgpu/webgpu", "wgpu/webgpu,safetensors"] {
        let line = format!("clippy -p wgpu-adam --lib --target {WASM} --features {features} -- -D warnings");
        run(&mut cargo(&line))?;
    }
    run(&mut cargo(&format!("clippy {WASM_PROGRAMS} --target {WASM} -- -D warnings")))?;
    Ok(Outcome::Done)
}

pub fn documentation() -> Result<Outcome> {
    run(cargo("doc --workspace --no-deps").env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok(Outcome::Done)
}

/// Builds the listing program as `cargo test` would (with the examples, which bring in the dev-dependencies), so that
/// wgpu is not compiled twice. Then ensures that there are adapters to test on.
pub fn build_and_adapters() -> Result<Outcome> {
    run(&mut cargo("build --workspace --bin adapters --bin digits --examples"))?;
    adapters::ensure(listing, &drivers::expected(), &drivers::VULKAN_AND_GL)?;
    Ok(Outcome::Done)
}

fn listing() -> Result<Command> {
    Ok(swiftshader::added(built("adapters")?))
}

pub fn tests() -> Result<Outcome> {
    run(&mut swiftshader::added(cargo("test --workspace --no-fail-fast")))?;
    Ok(Outcome::DoneOn(Listing::from(&mut listing()?)?.lines))
}

/// The examples that check themselves and need no arguments.
const EXAMPLES: [&str; 6] = ["quickstart", "headless", "two_optimizers", "mlp", "resume", "grow"];

/// The examples that check themselves, as built above. `cargo run --example` would select other features.
pub fn examples() -> Result<Outcome> {
    for example in EXAMPLES {
        run(&mut built(&format!("examples/{example}"))?)?;
    }
    let adapters = Listing::from(&mut listing()?)?;
    for adapter in adapters.unambiguous() {
        for folder in ["tests/golden", "tests/golden/torch1.11"] {
            run(swiftshader::added(built("examples/replay")?).args([folder, "--adapter", adapter]))?;
        }
    }
    Ok(Outcome::Done)
}
