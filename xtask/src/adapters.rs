//! The wgpu adapters of this machine. A program that uses wgpu lists them; missing ones are added by installing a
//! driver.

use std::env;
use std::process::Command;

use anyhow::{Result, bail};

use crate::drivers;
use crate::expected::Expected;
use crate::run::capture;

/// Adapters as printed by a listing program.
pub struct Listing {
    /// One line per adapter; its first word is the backend.
    pub lines: Vec<String>,
    /// The program's stderr, to explain a list without adapters.
    complaint: String,
}

impl Listing {
    /// Runs the program. If it exits with an error, the list is empty.
    pub fn from(program: &mut Command) -> Result<Self> {
        let output = capture(program.env("RUST_BACKTRACE", "0"))?;
        let text = if output.status.success() { String::from_utf8_lossy(&output.stdout) } else { "".into() };
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        Ok(Self { lines, complaint: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
    }

    /// The lines that match exactly one adapter when used as a substring. Lines of two identical GPUs are left out.
    pub fn unambiguous(&self) -> impl Iterator<Item = &str> {
        let containing = |part: &str| self.lines.iter().filter(|line| line.contains(part)).count();
        self.lines.iter().map(String::as_str).filter(move |line| containing(line) == 1)
    }

    /// The adapters of `expected` that are missing.
    fn missing<'a>(&self, expected: &'a [Expected]) -> Vec<&'a Expected> {
        let has = |wanted: &Expected| self.lines.iter().any(|line| line.to_lowercase().starts_with(wanted.begins));
        expected.iter().filter(|wanted| !has(wanted)).collect()
    }
}

/// Whether this run is unattended. Such a run must not pass while an expected adapter is missing.
pub fn unattended() -> bool {
    env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

/// Prints the adapters that `program` lists. If there is none, installs the packages in `least`.
///
/// In CI, installs missing `expected` adapters and fails if one is still missing. Elsewhere only lists them: a user's
/// own driver is enough, and the user decides what else is installed.
pub fn ensure(program: impl Fn() -> Result<Command>, expected: &[Expected], least: &[&str]) -> Result<()> {
    let lacking = |listing: &Listing| if unattended() { listing.missing(expected) } else { Vec::new() };
    let suffices = |listing: &Listing| !listing.lines.is_empty() && lacking(listing).is_empty();

    let mut listing = Listing::from(&mut program()?)?;
    if !suffices(&listing) {
        println!("{}", absence(&listing, expected));
        let mut packages = if listing.lines.is_empty() { least.to_vec() } else { Vec::new() };
        for package in lacking(&listing).into_iter().flat_map(|lacking| lacking.packages) {
            if !packages.contains(package) {
                packages.push(package);
            }
        }
        drivers::install(&packages)?;
        // In a new process: the Vulkan loader reads the list of drivers only once.
        listing = Listing::from(&mut program()?)?;
        if !suffices(&listing) {
            bail!("{}, even with {} installed", absence(&listing, expected), packages.join(" "));
        }
    }

    println!("adapters:");
    for line in &listing.lines {
        println!("  {line}");
    }
    for Expected { begins, packages } in listing.missing(expected) {
        let remedy = if packages.is_empty() { String::new() } else { format!(" (packages: {})", packages.join(" ")) };
        println!("  no adapter '{begins}': nothing is tested on it{remedy}");
    }
    Ok(())
}

fn absence(listing: &Listing, expected: &[Expected]) -> String {
    let missing = || listing.missing(expected).iter().map(|missing| missing.begins).collect::<Vec<_>>();
    match (listing.lines.as_slice(), listing.complaint.as_str()) {
        ([], "") => "no wgpu adapter is found".to_owned(),
        ([], complaint) => format!("no wgpu adapter is found ({complaint})"),
        _ => format!("no adapter '{}' is found, which CI needs", missing().join("' and no adapter '")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(lines: &[&str]) -> Listing {
        Listing { lines: lines.iter().map(ToString::to_string).collect(), complaint: String::new() }
    }

    #[test]
    fn missing_adapters_are_told_by_backend_and_name() {
        let expected =
            ["vulkan llvmpipe", "vulkan swiftshader", "gl "].map(|begins| Expected { begins, packages: &[] });
        let missing =
            |lines| listing(lines).missing(&expected).iter().map(|missing| missing.begins).collect::<Vec<_>>();
        assert_eq!(missing(&["Vulkan llvmpipe (LLVM 15.0.6, 256 bits) gl"]), ["vulkan swiftshader", "gl "]);
        assert_eq!(missing(&["Gl llvmpipe", "Vulkan SwiftShader Device (Subzero)"]), ["vulkan llvmpipe"]);
    }

    #[test]
    fn equal_adapters_are_ambiguous() {
        let listing = listing(&["Vulkan Big", "Vulkan Big", "Gl Big", "Vulkan llvmpipe"]);
        assert_eq!(listing.unambiguous().collect::<Vec<_>>(), ["Gl Big", "Vulkan llvmpipe"]);
    }
}
