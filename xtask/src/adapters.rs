//! The wgpu adapters of this machine: listed by a program that uses wgpu, completed by installing a driver.

use std::env;
use std::process::Command;

use anyhow::{Result, bail};

use crate::drivers;
use crate::run::capture;

/// Adapters as a listing program printed them.
struct Listing {
    /// One line an adapter; its first word is the backend.
    lines: Vec<String>,
    /// What the program had to say besides, for the case that none is found.
    complaint: String,
}

impl Listing {
    /// What the program lists; one that exits with an error has found none.
    fn from(program: &mut Command) -> Result<Self> {
        let output = capture(program.env("RUST_BACKTRACE", "0"))?;
        let text = if output.status.success() { String::from_utf8_lossy(&output.stdout) } else { "".into() };
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        Ok(Self { lines, complaint: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
    }

    /// The backends among `expected` that no adapter has.
    fn missing(&self, expected: &[&'static str]) -> Vec<&'static str> {
        let has = |backend: &str| {
            self.lines
                .iter()
                .any(|line| line.split_whitespace().next().is_some_and(|b| b.eq_ignore_ascii_case(backend)))
        };
        expected.iter().copied().filter(|backend| !has(backend)).collect()
    }
}

/// Whether this is an unattended run, which must not pass with less than every expected backend.
fn unattended() -> bool {
    env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

/// Finds the adapters that `program` lists and prints them; installs `packages` where there is none.
///
/// Of the `expected` backends, a missing one is installed and insisted on in CI, and named elsewhere: a user's own
/// driver is enough, and what else is on the machine is the user's business.
pub fn ensure(program: impl Fn() -> Result<Command>, expected: &[&'static str], packages: &[&str]) -> Result<()> {
    let insufficient =
        |listing: &Listing| listing.lines.is_empty() || unattended() && !listing.missing(expected).is_empty();

    let mut listing = Listing::from(&mut program()?)?;
    if insufficient(&listing) {
        println!("{}", absence(&listing, expected));
        drivers::install(packages)?;
        // In a new process: the Vulkan loader reads the list of drivers only once.
        listing = Listing::from(&mut program()?)?;
    }
    if insufficient(&listing) {
        bail!("{}, even with {} installed", absence(&listing, expected), packages.join(" "));
    }

    println!("adapters:");
    for line in &listing.lines {
        println!("  {line}");
    }
    for backend in listing.missing(expected) {
        println!("  no {backend} adapter: nothing is tested on it (apt-get install {})", packages.join(" "));
    }
    Ok(())
}

fn absence(listing: &Listing, expected: &[&'static str]) -> String {
    match (listing.lines.as_slice(), listing.complaint.as_str()) {
        ([], "") => "no wgpu adapter is found".to_owned(),
        ([], complaint) => format!("no wgpu adapter is found ({complaint})"),
        _ => format!("no {} adapter is found, which CI needs", listing.missing(expected).join(" and no ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_backends_are_told_by_the_first_word() {
        let line = "vulkan llvmpipe gl".to_owned();
        let listing = Listing { lines: vec![line], complaint: String::new() };
        assert_eq!(listing.missing(&["vulkan", "gl"]), ["gl"]);
        assert_eq!(listing.missing(&[]), [""; 0]);
    }
}
