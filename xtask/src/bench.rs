//! `cargo xtask bench`: the benchmark, in release, on every adapter; `--web`: in a browser, beside TensorFlow.js.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::{adapters, drivers, run, swiftshader, web};

/// Builds the benchmark, finds an adapter with it (wgpu is compiled once) and runs it with the arguments.
pub fn run(arguments: &[&str]) -> Result<()> {
    const RUN: &str = "run --quiet --release --package wgpu-adam-bench --";
    match arguments {
        ["--web"] => return in_a_browser(),
        _ if arguments.contains(&"--web") => bail!("`bench --web` takes no other arguments"),
        _ => {}
    }
    run::run(&mut run::cargo("build --release --package wgpu-adam-bench"))?;
    let list = || Ok(swiftshader::added(run::cargo(&format!("{RUN} --list-adapters"))));
    adapters::ensure(list, &[], &drivers::VULKAN)?;
    run::run(swiftshader::added(run::cargo(RUN)).args(arguments))
}

/// Builds the page of `benches/web` into `target/web-bench`, opens it and prints what it measures.
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

/// TensorFlow.js and its WebGPU backend: packages of the npm registry, and the file of each that a page loads.
const TFJS: [(&str, &str); 2] = [("tfjs", "tf.min.js"), ("tfjs-backend-webgpu", "tf-backend-webgpu.min.js")];
const TFJS_VERSION: &str = "4.22.0";

/// The folder of an unpacked package, fetched where it is not there yet.
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
