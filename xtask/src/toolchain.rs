//! Additions to a minimal toolchain, through rustup. Each function returns the reason if it fails.

use std::path::Path;

use crate::run::{capture, cargo, command, exists, run, succeeds};

/// The workspace's minimum supported Rust version.
pub const MSRV: &str = env!("CARGO_PKG_RUST_VERSION");
/// The target of browsers.
pub const WASM: &str = "wasm32-unknown-unknown";

/// Ensures that there is a cargo subcommand, which comes as a separate component.
pub fn ensure_component(component: &str, subcommand: &str) -> Result<(), String> {
    if succeeds(&mut cargo(&format!("{subcommand} --version"))) {
        return Ok(());
    }
    add("component", component)
}

/// Ensures that there is the standard library for browsers.
pub fn ensure_wasm_target() -> Result<(), String> {
    let library = capture(command("rustc").args(["--print", "target-libdir", "--target", WASM]));
    let folder = library.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    if folder.is_ok_and(|folder| Path::new(&folder).is_dir()) {
        return Ok(());
    }
    add("target", WASM)
}

/// The installed toolchain of the minimum supported Rust version. It is not downloaded for the check alone.
pub fn msrv_toolchain() -> Option<String> {
    let list = capture(command("rustup").args(["toolchain", "list"])).ok()?;
    find_version(&String::from_utf8_lossy(&list.stdout), MSRV)
}

fn find_version(list: &str, version: &str) -> Option<String> {
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    let is_version = |name: &&str| name.strip_prefix(version).is_some_and(|rest| rest.starts_with(['-', '.']));
    names.filter(is_version).map(str::to_owned).next()
}

fn add(kind: &str, name: &str) -> Result<(), String> {
    if !exists("rustup") {
        return Err(format!("the {kind} {name} is not installed and there is no rustup to add it"));
    }
    run(command("rustup").args([kind, "add", name])).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::find_version;

    #[test]
    fn a_version_is_found_with_or_without_its_patch_level() {
        let list = "stable-x86_64-unknown-linux-gnu (active, default)\n1.87.0-x86_64-unknown-linux-gnu\n";
        assert_eq!(find_version(list, "1.87").as_deref(), Some("1.87.0-x86_64-unknown-linux-gnu"));
        assert_eq!(find_version("1.87-x86_64-pc-windows-msvc", "1.87").as_deref(), Some("1.87-x86_64-pc-windows-msvc"));
        assert_eq!(find_version(list, "1.8"), None);
    }
}
