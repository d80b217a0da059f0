//! `cargo xtask bench`: the benchmark, in release mode, on every adapter; with `--peers` the comparison with other
//! optimizers, with `--web` the comparison with TensorFlow.js in a browser.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::{adapters, drivers, run, swiftshader, web};

/// The comparison's workspace. It is separate, because burn takes long to compile and nothing else needs it.
pub const PEERS: &str = "benches/peers/Cargo.toml";

/// Builds the benchmark, which also lists the adapters (so that wgpu is compiled once), and runs it with the arguments.
pub fn run(arguments: &[&str]) -> Result<()> {
    match arguments {
        ["--web"] => return in_a_browser(),
        _ if arguments.contains(&"--web") => bail!("`bench --web` takes no other arguments"),
        _ => {}
    }
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

    // The comparison runs on one adapter. SwiftShader is added only if an adapter is named, because it would come
    // first.
    let added =
        |command| if peers && !arguments.contains(&"--adapter") { command } else { swiftshader::added(command) };

    run::run(&mut cargo("build", ""))?;
    adapters::ensure(|| Ok(added(cargo("run --quiet", "-- --list-adapters"))), &[], &drivers::VULKAN)?;
    run::run(added(cargo("run --quiet", "--")).args(&arguments))
}

/// Builds the page of `benches/web` into `target/web-bench`, opens it and prints its measurements.
fn in_a_browser() -> Result<()> {
    let folder = web::empty("web-bench")?;
    let wasm = web::compile("--package wgpu-adam-bench-web --bin bench-web", "release")?;
    web::bindgen(&wasm, &folder, web::Names::Strip)?;
    web::copy(&run::workspace_root().join("benches/web/page"), &folder)?;
    let library = folder.join("tfjs");
    fs::create_dir_all(&library)?;
    for (package, file) in TFJS {
        fs::copy(fetched(package)?.join("package/dist").join(file), library.join(file))
            .with_context(|| format!("{file} of {package}"))?;
    }
    run::run(run::cargo("run --quiet --package wgpu-adam-bench-web --").arg(folder))
}

/// TensorFlow.js and its WebGPU backend: npm packages, and the file of each that a page loads.
const TFJS: [(&str, &str); 2] = [("tfjs", "tf.min.js"), ("tfjs-backend-webgpu", "tf-backend-webgpu.min.js")];
const TFJS_VERSION: &str = "4.22.0";

/// The folder of an unpacked package, downloaded if it is missing.
fn fetched(package: &str) -> Result<PathBuf> {
    let folder = run::target_dir()?.join("npm").join(format!("{package}-{TFJS_VERSION}"));
    if folder.join("package").is_dir() {
        return Ok(folder);
    }
    if !run::exists("npm") {
        bail!("npm, which fetches TensorFlow.js, is not installed; on Debian and Ubuntu: apt-get install npm");
    }
    fs::create_dir_all(&folder)?;
    let name = format!("@tensorflow/{package}@{TFJS_VERSION}");
    run::run(run::command("npm").args(["pack", "--silent", &name]).current_dir(&folder))?;
    let archive = format!("tensorflow-{package}-{TFJS_VERSION}.tgz");
    run::run(run::command("tar").args(["-xzf", &archive]).current_dir(Path::new(&folder)))?;
    Ok(folder)
}
