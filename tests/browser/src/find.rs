//! Finds a Chromium on this machine.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Names a browser program to use instead of the first one found.
const CHOSEN: &str = "WGPU_ADAM_BROWSER";

/// Programs on the search path, and the paths of installers on systems that do not use it.
const PROGRAMS: [&str; 8] = [
    "chromium",
    "google-chrome-stable",
    "google-chrome",
    "chromium-browser",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
];

/// The Chromium, Chrome or Edge for the tests.
///
/// # Errors
/// There is none. Ubuntu's Chromium does not count: it is a snap, and cannot read the test's profile.
pub fn find() -> Result<PathBuf> {
    if let Some(chosen) = env::var_os(CHOSEN).filter(|chosen| !chosen.is_empty()) {
        return on_path(Path::new(&chosen)).with_context(|| format!("{CHOSEN}={} is no program", chosen.display()));
    }
    let found = PROGRAMS.iter().filter_map(|program| on_path(Path::new(program))).find(|program| !is_snap(program));
    let Some(found) = found else {
        bail!("there is no Chromium and no Chrome here ({CHOSEN} can name one)");
    };
    Ok(found)
}

fn on_path(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.is_file().then(|| program.to_owned());
    }
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Whether this is a snap, or the script that starts one.
fn is_snap(program: &Path) -> bool {
    let resolved = program.canonicalize().unwrap_or_else(|_| program.to_owned());
    let begins = std::fs::read(&resolved).map(|bytes| bytes.get(..2) == Some(b"#!")).unwrap_or(false);
    let script = if begins { std::fs::read_to_string(&resolved).unwrap_or_default() } else { String::new() };
    resolved.starts_with("/snap") || resolved.ends_with("bin/snap") || script.contains("/snap/bin")
}

/// Name and version as the program prints them, such as `Chromium 140.0`.
pub(crate) fn version(program: &Path) -> Option<String> {
    // On Windows the program would open a window instead.
    if cfg!(windows) {
        return None;
    }
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (!text.is_empty()).then_some(text)
}
