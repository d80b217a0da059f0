//! Checks by tools that few have installed. Each is left out, with a word, where its tool is missing.

use anyhow::{Result, bail};

use crate::report::Outcome;
use crate::run::{capture, cargo, command, exists, run, succeeds};

/// Licences, advisories and sources of all dependencies, by the rules in deny.toml.
pub fn deny() -> Result<Outcome> {
    if !succeeds(&mut cargo("deny --version")) {
        return Ok(missing("cargo-deny"));
    }
    run(&mut cargo("deny check"))?;
    Ok(Outcome::Done)
}

/// Whether the public interface breaks what the last tagged version promised.
pub fn semver() -> Result<Outcome> {
    if !succeeds(&mut cargo("semver-checks --version")) {
        return Ok(missing("cargo-semver-checks"));
    }
    let tag = capture(command("git").args(["describe", "--tags", "--abbrev=0", "--match", "v*"]))?;
    if !tag.status.success() {
        return Ok(Outcome::NotDone("there is no tag of an earlier version to compare with".to_owned()));
    }
    let tag = String::from_utf8_lossy(&tag.stdout).trim().to_owned();
    run(cargo("semver-checks --package wgpu-adam --all-features --baseline-rev").arg(tag))?;
    Ok(Outcome::Done)
}

/// Misspelled words, but those that typos.toml allows.
pub fn typos() -> Result<Outcome> {
    if !exists("typos") {
        return Ok(missing("typos-cli"));
    }
    run(&mut command("typos"))?;
    Ok(Outcome::Done)
}

/// What `cargo publish` checks before it uploads: needs crates.io.
pub fn publish() -> Result<Outcome> {
    let mut publish = cargo("publish --package wgpu-adam --dry-run --no-verify --allow-dirty");
    let output = capture(&mut publish)?;
    let text = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(Outcome::Done),
        false if offline(&text) => Ok(Outcome::NotDone("crates.io cannot be reached".to_owned())),
        false => bail!("`cargo publish --dry-run` failed:\n{}", text.trim()),
    }
}

/// Whether cargo says that it could not reach the registry, or may not.
fn offline(text: &str) -> bool {
    ["HTTP request", "network", "config.json", "resolve host", "Connection refused"]
        .iter()
        .any(|sign| text.contains(sign))
}

fn missing(tool: &str) -> Outcome {
    Outcome::NotDone(format!("no {tool}; `cargo install {tool}` adds it"))
}

#[cfg(test)]
mod tests {
    use super::offline;

    #[test]
    fn a_missing_registry_is_told_from_a_mistake() {
        assert!(offline("error: attempting to make an HTTP request, but --offline was specified"));
        assert!(offline("error: failed to fetch `config.json`\n\nCaused by: Could not resolve host: index.crates.io"));
        assert!(!offline(
            "error: all dependencies must have a version specified when publishing.\ndependency `x` does not"
        ));
    }
}
