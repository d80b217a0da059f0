//! `cargo xtask`: the commands of the README, with all the set-up they need.

mod adapters;
mod bench;
mod demo;
mod drivers;
mod report;
mod run;
mod steps;
mod swiftshader;
mod test;
mod toolchain;

use std::env;
use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
Usage: cargo xtask COMMAND

Commands:
  demo [ARGUMENTS]   run the digits example with these arguments (--help lists them)
  test [--quick]     run every test and check; --quick leaves out the MSRV, the documentation and the examples
  bench [ARGUMENTS]  measure a step beside a copy of the same bytes, on every adapter (--help lists the arguments)
  bench --peers      measure it beside burn's Adam, and torch's where it is found (--help lists the arguments)
  help               print this text

They make sure of a wgpu adapter. On a Debian or Ubuntu without one they install Mesa's software
driver with apt-get, through sudo when not root; elsewhere they say what to install.
`test` uses every adapter it finds, SwiftShader among them where Debian's Chromium is installed. Where the
environment variable CI is set, it insists on all software adapters of the system, and installs them.";

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
        ("test", []) => test::run(test::Extent::Full),
        ("test", ["--quick"]) => test::run(test::Extent::Quick),
        ("help" | "--help" | "-h", _) | ("test", ["--help" | "-h"]) => {
            println!("{HELP}");
            Ok(())
        }
        ("test", unknown) => bail!("`test` does not know {}\n\n{HELP}", unknown.join(" ")),
        (unknown, _) => bail!("no command `{unknown}`\n\n{HELP}"),
    }
}
