//! `cargo xtask web`: the digits example as a page; and how programs for browsers become folders of files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

use crate::run::{self, capture, cargo, command, exists, target_dir, workspace_root};
use crate::toolchain::{WASM, ensure_wasm_target};

/// The profile of programs that are downloaded: small. See the workspace's Cargo.toml.
const PROFILE: &str = "small";

/// Builds the page and serves it until it is stopped.
pub fn run() -> Result<()> {
    let folder = build()?;
    let mut serve = cargo("run --quiet --package wgpu-adam-browser --bin serve --");
    run::run(serve.arg(folder))
}

/// Builds the page of the digits into `target/web`: the program and its files, beside them the page without a program
/// in `js/` and the shaders it fetches in `shaders/`.
pub fn build() -> Result<PathBuf> {
    let folder = empty("web")?;
    let wasm = compile("--package digits --bin digits", PROFILE)?;
    bindgen(&wasm, &folder)?;
    optimize(&folder.join("digits_bg.wasm"))?;
    let root = workspace_root();
    copy(&root.join("examples/digits/web"), &folder)?;
    copy(&root.join("examples/js"), &folder.join("js"))?;
    copy(&root.join("shaders"), &folder.join("shaders"))?;
    Ok(folder)
}

/// Builds the page of the test bodies into `target/web-suite`.
pub fn build_suite() -> Result<PathBuf> {
    let folder = empty("web-suite")?;
    let wasm = compile("--package wgpu-adam-suite --bin page", "dev")?;
    bindgen(&wasm, &folder)?;
    copy(&workspace_root().join("tests/suite/page"), &folder)?;
    Ok(folder)
}

/// A folder of the target folder without anything in it.
pub fn empty(name: &str) -> Result<PathBuf> {
    let folder = target_dir()?.join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("emptying {}", folder.display()))?;
    }
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Compiles one program for browsers, selected by cargo's arguments, the last of which names it: the wasm file.
pub fn compile(selection: &str, profile: &str) -> Result<PathBuf> {
    ensure_wasm_target().map_err(|reason| anyhow!(reason))?;
    run::run(&mut cargo(&format!("build {selection} --target {WASM} --profile {profile}")))?;
    let name = selection.split_whitespace().last().context("a program")?;
    let folder = if profile == "dev" { "debug" } else { profile };
    Ok(target_dir()?.join(WASM).join(folder).join(name).with_extension("wasm"))
}

/// Makes of `NAME.wasm` the module `NAME.js` and the file `NAME_bg.wasm` it loads.
pub fn bindgen(wasm: &Path, folder: &Path) -> Result<()> {
    run::run(cargo("run --quiet --package xtask-bindgen --").arg(wasm).arg(folder))
}

/// Makes the file smaller with Binaryen's wasm-opt, where that is installed and knows what compilers write today.
pub fn optimize(wasm: &Path) -> Result<()> {
    let size = || Ok::<_, anyhow::Error>(fs::metadata(wasm)?.len().div_ceil(1000));
    let before = size()?;
    if !exists("wasm-opt") {
        println!("{}: {before} kB; Binaryen's wasm-opt, which is not installed, would make it smaller", wasm.display());
        return Ok(());
    }
    let smaller = wasm.with_extension("opt");
    let mut optimize = command("wasm-opt");
    optimize.args(["-Os", "--strip-producers", "--strip-target-features"]);
    // What Rust's target has by default: older versions take nothing for granted.
    optimize.args(
        ["bulk-memory", "multivalue", "mutable-globals", "nontrapping-float-to-int", "reference-types"].map(enable),
    );
    let output = capture(optimize.arg(enable("sign-ext")).arg(wasm).arg("-o").arg(&smaller))?;
    if !output.status.success() {
        println!("{}: {before} kB; wasm-opt refused it: {}", wasm.display(), String::from_utf8_lossy(&output.stderr));
        return Ok(());
    }
    fs::rename(&smaller, wasm)?;
    println!("{}: {} kB, before wasm-opt {before} kB", wasm.display(), size()?);
    Ok(())
}

fn enable(feature: &str) -> String {
    format!("--enable-{feature}")
}

/// Copies the files of a folder, and of the folders in it.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let (entry, to) = (entry?.path(), to);
        let name = entry.file_name().context("a name")?;
        if entry.is_dir() {
            copy(&entry, &to.join(name))?;
        } else {
            fs::copy(&entry, to.join(name)).with_context(|| format!("copying {}", entry.display()))?;
        }
    }
    Ok(())
}
