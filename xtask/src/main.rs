//! `cargo xtask`: the commands of the README, including all setup.

mod adapters;
mod apt;
mod bench;
mod browser;
mod demo;
mod drivers;
mod expected;
mod fuzz;
mod package;
mod report;
mod run;
mod steps;
mod swiftshader;
mod test;
mod toolchain;
mod tools;
mod torch;
mod web;

use std::env;
use std::process::ExitCode;

use anyhow::{Result, bail};

use report::Outcome;

const HELP: &str = "\
Usage: cargo xtask COMMAND

Commands:
  demo [ARGUMENTS]   run the digits example with these arguments (--help lists them)
  test [--quick]     run every test and check, and the fuzzer for half a minute if cargo-fuzz is installed; --quick
                     leaves out the MSRV, the documentation, the examples, the package and what is below it in the
                     summary; cargo-deny, cargo-semver-checks and typos run if they are installed
  test --with-torch  the same, after installing Debian's torch for the tests of checkpoints
  bench [ARGUMENTS]  measure a step beside a copy of the same bytes, on every adapter (--help lists the arguments)
  bench --peers      measure a step beside burn's Adam, and torch's if installed (--help lists the arguments)
  bench --web        measure a step in a headless Chromium, beside TensorFlow.js, which npm fetches
  package            package the library and run the README's program with the package, outside the workspace
  web [--build]      build the digits example as a page in target/web and serve it; --build only builds
  help               print this text

These commands ensure that there is a wgpu adapter. On Debian or Ubuntu they install Mesa's software
driver with apt-get, through sudo when not root; elsewhere they print what to install.
`test` uses every adapter it finds, including SwiftShader if Debian's Chromium is installed. If the
environment variable CI is set, it installs and requires all software adapters of the system, and
installs cargo-fuzz into the target folder.
It also runs the tests in a headless Chromium or Chrome, which it installs on Debian. Without one they
are left out, which is a failure in CI.";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<()> {
    let Some((command, rest)) = arguments.split_first() else {
        bail!("no command\n\n{HELP}");
    };
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    match (command.as_str(), rest.as_slice()) {
        ("demo", arguments) => demo::run(arguments),
        ("bench", arguments) => bench::run(arguments),
        ("web", []) => web::run(),
        ("web", ["--build"]) => web::build().map(drop),
        ("test", []) => test::run(test::Extent::Full),
        ("test", ["--with-torch"]) => torch::install().and_then(|()| test::run(test::Extent::Full)),
        ("test", ["--quick"]) => test::run(test::Extent::Quick),
        ("package", []) => match package::programs()? {
            Outcome::NotDone(reason) => bail!(reason),
            Outcome::Done | Outcome::DoneOn(_) => Ok(()),
        },
        ("help" | "--help" | "-h", _) | ("test" | "web" | "package", ["--help" | "-h"]) => {
            println!("{HELP}");
            Ok(())
        }
        ("test" | "web" | "package", unknown) => bail!("`{command}` does not know {}\n\n{HELP}", unknown.join(" ")),
        (unknown, _) => bail!("no command `{unknown}`\n\n{HELP}"),
    }
}
