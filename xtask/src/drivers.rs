//! The software drivers that give a machine without a GPU an adapter, and installing them.

use anyhow::{Context, Result, bail};

use crate::adapters::Expected;
use crate::run::{capture, command, exists, run};
use crate::swiftshader;

/// Debian's and Ubuntu's packages for the Vulkan adapter (lavapipe).
pub const VULKAN: [&str; 2] = ["mesa-vulkan-drivers", "libvulkan1"];
/// The same, with those for the GL adapter (llvmpipe over EGL).
pub const VULKAN_AND_GL: [&str; 4] = ["mesa-vulkan-drivers", "libvulkan1", "libegl1", "libgl1-mesa-dri"];

/// The software adapters that a machine like this one can have.
pub fn expected() -> Vec<Expected> {
    if cfg!(windows) {
        return vec![Expected { begins: "dx12 ", packages: &[] }];
    }
    if cfg!(target_os = "macos") {
        return vec![Expected { begins: "metal ", packages: &[] }];
    }
    let mut expected = vec![
        Expected { begins: "vulkan llvmpipe", packages: &VULKAN },
        Expected { begins: "gl ", packages: &["libegl1", "libgl1-mesa-dri"] },
    ];
    if swiftshader::has_package() {
        expected.push(swiftshader::EXPECTED);
    }
    expected
}

const ELSEWHERE: &str = "\
This program installs a driver only with apt-get, which is not here. Install one and try again:
  Fedora: dnf install mesa-vulkan-drivers vulkan-loader
  Arch:   pacman -S vulkan-swrast vulkan-icd-loader
  macOS, Windows: nothing to install; the system brings Metal, or DirectX 12 with WARP as its software adapter";

/// Installs drivers with apt-get, or says how to install them elsewhere.
pub fn install(packages: &[&str]) -> Result<()> {
    if !cfg!(target_os = "linux") || !exists("apt-get") {
        bail!("{ELSEWHERE}");
    }
    install_packages(packages).context("the driver could not be installed")
}

/// Installs the packages with apt-get, as root or through sudo.
pub fn install_packages(packages: &[&str]) -> Result<()> {
    let packages = packages.join(" ");
    let root = capture(command("id").arg("-u"))?.stdout.trim_ascii() == b"0";
    if !root && !exists("sudo") {
        bail!("there is no sudo; as root, run: apt-get update && apt-get install -y {packages}");
    }

    let means = if root { "apt-get" } else { "sudo apt-get" };
    println!("Installing with {means}: {packages}");
    let apt_get = |arguments: &str| {
        // Through `env`, because sudo does not hand variables on.
        let line = format!("env DEBIAN_FRONTEND=noninteractive apt-get {arguments}");
        let line = if root { line } else { format!("sudo {line}") };
        let mut words = line.split_whitespace();
        let mut apt_get = command(words.next().unwrap_or_default());
        apt_get.args(words);
        run(&mut apt_get)
    };
    if let Err(error) = apt_get("update") {
        // One unreachable source of several fails the update, but seldom the installation.
        println!("going on in spite of it: {error}");
    }
    apt_get(&format!("install -y --no-install-recommends {packages}"))
}
