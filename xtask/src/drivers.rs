//! Software drivers, which provide an adapter on a machine without a GPU, and their installation.

use anyhow::Result;

use crate::expected::Expected;
use crate::{apt, swiftshader};

/// Debian's and Ubuntu's packages for the Vulkan adapter (lavapipe).
pub const VULKAN: [&str; 2] = ["mesa-vulkan-drivers", "libvulkan1"];
/// The same, and those for the GL adapter (llvmpipe over EGL).
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

/// Installs driver packages.
pub fn install(packages: &[&str]) -> Result<()> {
    apt::install(packages, ELSEWHERE)
}
