//! A short run of the fuzzer over checkpoint files.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::report::Outcome;
use crate::run::{cargo, command, exists, run, succeeds, target_dir};

/// The committed corpus, relative to the workspace.
const CORPUS: &str = "fuzz/corpus/checkpoint";
/// As in fuzz/README.md: half a minute, and a memory limit that no small file may exceed.
const LIMITS: [&str; 3] = ["-max_total_time=30", "-rss_limit_mb=512", "-malloc_limit_mb=64"];

/// Builds the target with sanitizer and coverage, and runs it with the corpus. New inputs stay in the target folder.
pub fn checkpoint() -> Result<Outcome> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Ok(Outcome::NotDone("the fuzzer runs on x86-64 Linux".to_owned()));
    }
    // libFuzzer is C++.
    if !exists("c++") {
        return Ok(Outcome::NotDone("there is no C++ compiler, which libFuzzer needs".to_owned()));
    }
    let mut fuzz = match cargo_fuzz() {
        Ok(fuzz) => fuzz,
        Err(reason) => return Ok(Outcome::NotDone(reason)),
    };
    let target = target_dir()?.join("fuzz");
    let found = target.join("corpus");
    std::fs::create_dir_all(&found)?;
    // Sanitizers are an unstable compiler option, which this variable allows on stable.
    fuzz.env("RUSTC_BOOTSTRAP", "1");
    fuzz.args(["run", "checkpoint", "--target-dir"]).arg(target).arg(found).args([CORPUS, "--"]).args(LIMITS);
    run(&mut fuzz)?;
    Ok(Outcome::Done)
}

/// cargo-fuzz if it is installed. In CI it is installed, into the target folder.
fn cargo_fuzz() -> Result<Command, String> {
    if succeeds(&mut cargo("fuzz --version")) {
        return Ok(cargo("fuzz"));
    }
    let root = target_dir().map_err(|error| error.to_string())?.join("tools");
    let own: PathBuf = root.join("bin").join("cargo-fuzz");
    if !own.exists() {
        if env::var_os("CI").is_none() {
            return Err("no cargo-fuzz; `cargo install cargo-fuzz` adds it".to_owned());
        }
        let mut install = cargo("install cargo-fuzz --locked --root");
        run(install.arg(root)).map_err(|error| error.to_string())?;
    }
    let mut fuzz = command(own);
    fuzz.arg("fuzz");
    Ok(fuzz)
}
