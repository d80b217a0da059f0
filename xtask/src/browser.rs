//! The browser for testing pages: found, or installed if it is missing.

use anyhow::{Result, anyhow, bail};

use crate::adapters::unattended;
use crate::report::Outcome;
use crate::run::{built, capture, cargo, run, target_dir};
use crate::toolchain::ensure_wasm_target;
use crate::{apt, swiftshader, web};

/// Debian's package. Ubuntu's is a snap, which cannot read the test's profile.
const PACKAGES: [&str; 1] = ["chromium"];

const ELSEWHERE: &str = "install Chrome or Chromium, or name one with the environment variable WGPU_ADAM_BROWSER";

/// The browser and its adapter as the listing program prints them. The inner error is the reason if there is none.
fn browser() -> Result<Result<String, String>> {
    let output = capture(built("browser")?.env("RUST_BACKTRACE", "0"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    Ok(if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) })
}

/// The same after installing what is missing. The inner error is a reason not to test in this run. In CI it is a
/// failure, because a browser without a WebGPU adapter must not go unnoticed there.
fn ensure() -> Result<Result<String, String>> {
    // With the package selection that the tests were built with, so that nothing is compiled twice.
    run(&mut cargo("build --workspace --bin browser --examples"))?;
    let mut found = browser()?;
    if let Err(reason) = &found {
        println!("{reason}");
        if swiftshader::has_package() {
            found = match apt::install(&PACKAGES, ELSEWHERE) {
                Ok(()) => browser()?,
                Err(error) => Err(format!("{reason}; {error:#}")),
            };
        }
    }
    match found {
        Err(reason) if unattended() => bail!("{reason}; {ELSEWHERE}"),
        found => Ok(found),
    }
}

/// Builds the pages and runs the tests that open them.
pub fn tests() -> Result<Outcome> {
    if let Err(reason) = ensure_wasm_target() {
        return if unattended() { Err(anyhow!(reason)) } else { Ok(Outcome::NotDone(reason)) };
    }
    let name = match ensure()? {
        Ok(name) => name,
        Err(reason) => return Ok(Outcome::NotDone(format!("{reason}; {ELSEWHERE}"))),
    };
    println!("browser: {name}");
    web::build_suite()?;
    web::build()?;
    // The whole workspace, so that cargo selects the same features as before.
    let mut tests = cargo("test --workspace --no-fail-fast");
    tests.args(TESTS.iter().flat_map(|test| ["--test", test]));
    run(swiftshader::added(tests).env("WGPU_ADAM_PAGES", target_dir()?))?;
    Ok(Outcome::DoneOn(vec![name]))
}

/// The test targets that need a browser; without one they report their tests as ignored.
const TESTS: [&str; 3] = ["driver", "browser", "page"];
