//! Installs packages on Debian and Ubuntu.

use anyhow::{Context, Result, bail};

use crate::run::{capture, command, exists, run};

/// Installs the packages with apt-get, as root or through sudo. `elsewhere` is the advice for systems without apt-get.
pub fn install(packages: &[&str], elsewhere: &str) -> Result<()> {
    if !cfg!(target_os = "linux") || !exists("apt-get") {
        bail!("{elsewhere}");
    }
    let packages = packages.join(" ");
    let root = capture(command("id").arg("-u"))?.stdout.trim_ascii() == b"0";
    if !root && !exists("sudo") {
        bail!("there is no sudo; as root, run: apt-get update && apt-get install -y {packages}");
    }

    let means = if root { "apt-get" } else { "sudo apt-get" };
    println!("Installing with {means}: {packages}");
    let apt_get = |arguments: &str| {
        // Through `env`, because sudo does not pass variables on.
        let line = format!("env DEBIAN_FRONTEND=noninteractive apt-get {arguments}");
        let line = if root { line } else { format!("sudo {line}") };
        let mut words = line.split_whitespace();
        let mut apt_get = command(words.next().unwrap_or_default());
        apt_get.args(words);
        run(&mut apt_get)
    };
    if let Err(error) = apt_get("update") {
        // One unreachable source of several makes the update fail, but rarely the installation.
        println!("continuing despite this error: {error}");
    }
    let installed = apt_get(&format!("install -y --no-install-recommends {packages}"));
    installed.with_context(|| format!("{packages} could not be installed"))
}
