//! `cargo xtask web`: the digits example as a page. Also turns programs for browsers into folders of files.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, anyhow};
use xtask_serve::Server;

use crate::run::{self, capture, cargo, command, target_dir, workspace_root};
use crate::toolchain::{WASM, ensure_wasm_target};

/// The profile of downloaded programs: small. See the workspace's Cargo.toml.
const PROFILE: &str = "small";

/// The port of the first server; further servers take free ports.
const PORT: u16 = 8080;

/// Builds the page and serves it until it is stopped.
pub fn run() -> Result<()> {
    let folder = build()?;
    let mounts = [("/", folder.as_path())];
    let server = Server::start_on(PORT, &mounts).or_else(|_| Server::start(&mounts))?;
    println!("{} (Ctrl-C stops)", server.url("/"));
    loop {
        thread::park();
    }
}

/// Builds the page of the digits into `target/web`: the program and its files, and the addresses of its links; in `js/`
/// the page without a program, and in `shaders/` the shaders that it fetches.
pub fn build() -> Result<PathBuf> {
    let folder = empty("web")?;
    let wasm = compile("--package digits --bin digits", PROFILE)?;
    bindgen(&wasm, &folder, Names::Strip)?;
    optimize(&folder.join("digits_bg.wasm"))?;
    let root = workspace_root();
    copy(&root.join("examples/digits/web"), &folder)?;
    let manifest = fs::read_to_string(root.join("Cargo.toml")).context("reading Cargo.toml")?;
    fs::write(folder.join("addresses.js"), addresses(&manifest))?;
    for file in ["digits.csv.gz", "digits_torch_run.json"] {
        copy(&root.join("examples/digits/data").join(file), &folder.join(file))?;
    }
    copy(&root.join("examples/js"), &folder.join("js"))?;
    copy(&root.join("shaders"), &folder.join("shaders"))?;
    Ok(folder)
}

/// The module with the addresses that the page links to. They are written in one place, the library's package in the
/// root manifest. The page hides links without an address.
fn addresses(manifest: &str) -> String {
    let export = |key: &str| {
        let line = manifest.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix("= \""));
        format!("export const {key} = '{}';\n", line.and_then(|rest| rest.split('"').next()).unwrap_or_default())
    };
    export("repository") + &export("documentation")
}

/// Builds the page of the test bodies into `target/web-suite`.
pub fn build_suite() -> Result<PathBuf> {
    let folder = empty("web-suite")?;
    let wasm = compile("--package wgpu-adam-suite --bin page", "dev")?;
    bindgen(&wasm, &folder, Names::Keep)?;
    copy(&workspace_root().join("tests/suite/page"), &folder)?;
    Ok(folder)
}

/// Makes an empty folder in the target folder.
pub fn empty(name: &str) -> Result<PathBuf> {
    let folder = target_dir()?.join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("emptying {}", folder.display()))?;
    }
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Compiles one program for browsers. cargo's arguments select it, and the last one is its name. Returns the wasm file.
pub fn compile(selection: &str, profile: &str) -> Result<PathBuf> {
    ensure_wasm_target().map_err(|reason| anyhow!(reason))?;
    run::run(&mut cargo(&format!("build {selection} --target {WASM} --profile {profile}")))?;
    let name = selection.split_whitespace().last().context("a program")?;
    let folder = if profile == "dev" { "debug" } else { profile };
    Ok(target_dir()?.join(WASM).join(folder).join(name).with_extension("wasm"))
}

/// Whether backtraces include function names, which are a third of a program.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Names {
    Keep,
    Strip,
}

/// Turns `NAME.wasm` into the module `NAME.js` and the file `NAME_bg.wasm` that it loads.
pub fn bindgen(wasm: &Path, folder: &Path, names: Names) -> Result<()> {
    let mut bindgen = cargo("run --quiet --package xtask-bindgen --");
    if names == Names::Strip {
        bindgen.arg("--strip-names");
    }
    run::run(bindgen.arg(wasm).arg(folder))
}

/// The first version of Binaryen known to produce working programs. Debian 12's, 108, confuses the two tables of
/// wasm-bindgen.
const BINARYEN: u32 = 116;

/// Shrinks the file with Binaryen's wasm-opt, if that is installed and new enough.
pub fn optimize(wasm: &Path) -> Result<()> {
    let size = || Ok::<_, anyhow::Error>(fs::metadata(wasm)?.len().div_ceil(1000));
    let (name, before) = (wasm.file_name().unwrap_or_default().display(), size()?);
    let version = match capture(command("wasm-opt").arg("--version")) {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Err(_) => "which is not installed".to_owned(),
    };
    if version_of(&version).is_none_or(|version| version < BINARYEN) {
        println!("{name}: {before} kB, without wasm-opt ({version}; from version {BINARYEN} on it is used)");
        return Ok(());
    }
    let smaller = wasm.with_extension("opt");
    run::run(command("wasm-opt").arg("-Os").arg(wasm).arg("-o").arg(&smaller))?;
    fs::rename(&smaller, wasm)?;
    println!("{name}: {} kB, before wasm-opt {before} kB", size()?);
    Ok(())
}

/// The number in `wasm-opt version 123 (version_123)`.
fn version_of(text: &str) -> Option<u32> {
    text.strip_prefix("wasm-opt version ")?.split_whitespace().next()?.parse().ok()
}

/// Copies a file, or a folder with all files in it.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    if from.is_file() {
        fs::copy(from, to).with_context(|| format!("copying {}", from.display()))?;
        return Ok(());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{addresses, version_of};

    #[test]
    fn the_page_links_to_the_addresses_of_the_manifest() {
        let none = "export const repository = '';\nexport const documentation = '';\n";
        assert_eq!(addresses("[package]\nname = \"a\"\nrepository.workspace = true\n"), none);
        let both = "[package]\nrepository = \"https://a.example/b\" # public\ndocumentation = \"https://docs.rs/b\"\n";
        let told =
            "export const repository = 'https://a.example/b';\nexport const documentation = 'https://docs.rs/b';\n";
        assert_eq!(addresses(both), told);
    }

    #[test]
    fn binaryen_tells_its_version() {
        assert_eq!(version_of("wasm-opt version 108"), Some(108));
        assert_eq!(version_of("wasm-opt version 123 (version_123)"), Some(123));
        assert_eq!(version_of("which is not installed"), None);
    }
}
