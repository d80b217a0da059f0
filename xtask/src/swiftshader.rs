//! SwiftShader, a Vulkan driver without hardware. It flushes denormals, as many GPUs do and Mesa's drivers do not.
//! Debian's Chromium contains it, at a path where the Vulkan loader does not look for drivers.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::expected::Expected;

pub const EXPECTED: Expected = Expected { begins: "vulkan swiftshader", packages: &["chromium-common", "libvulkan1"] };

const MANIFEST: &str = "/usr/lib/chromium/vk_swiftshader_icd.json";
/// Adds to the drivers that the loader finds by itself. The other variables replace them.
const ADD: &str = "VK_ADD_DRIVER_FILES";
const INSTEAD: [&str; 2] = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"];

/// Whether this system has the package. Debian has; Ubuntu's Chromium is a snap, whose files other programs cannot use.
pub fn has_package() -> bool {
    fs::read_to_string("/etc/os-release").is_ok_and(|release| is_debian(&release))
}

fn is_debian(os_release: &str) -> bool {
    os_release.lines().any(|line| matches!(line, "ID=debian" | "ID=\"debian\""))
}

/// Makes SwiftShader, if installed, visible to the command beside all other drivers. If the user has chosen drivers by
/// these variables, the choice stays.
pub fn added(mut command: Command) -> Command {
    let chosen = INSTEAD.iter().chain([&ADD]).any(|name| env::var_os(name).is_some());
    if cfg!(target_os = "linux") && !chosen && Path::new(MANIFEST).exists() {
        command.env(ADD, MANIFEST);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::is_debian;

    #[test]
    fn debian_is_told_from_its_descendants() {
        assert!(is_debian("PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n"));
        assert!(!is_debian("NAME=\"Ubuntu\"\nID=ubuntu\nID_LIKE=debian\n"));
    }
}
