//! Tests checkpoints with a real torch: Debian's, if it is installed.

use anyhow::{Result, bail};

use crate::apt;
use crate::report::Outcome;
use crate::run::{built, command, run, succeeds};
use crate::swiftshader;

/// Tests the converter, and the forms of files that it accepts. Needs torch and no other library.
const TEST: &str = "tools/test_torch_checkpoint.py";
/// Trains the digits with half of the run in torch.
const DIGITS: &str = "tools/test_digits_checkpoint.py";
/// Debian's own interpreter, which sees Debian's torch.
const PYTHON: &str = "/usr/bin/python3";

/// Installs Debian's torch: `cargo xtask test --with-torch`.
pub fn install() -> Result<()> {
    if is_there() {
        return Ok(());
    }
    apt::install(&["python3-torch", "python3-numpy"], "install torch for python3 yourself on this system")?;
    if is_there() { Ok(()) } else { bail!("python3-torch is installed, and {PYTHON} cannot import torch") }
}

/// Runs the tests that need torch.
pub fn checkpoints() -> Result<Outcome> {
    if !is_there() {
        return Ok(Outcome::NotDone("no torch for python3; --with-torch installs Debian's".to_owned()));
    }
    for (test, program) in [(TEST, "examples/checkpoint"), (DIGITS, "digits")] {
        run(swiftshader::added(command(PYTHON)).arg(test).arg(built(program)?.get_program()))?;
    }
    Ok(Outcome::Done)
}

fn is_there() -> bool {
    succeeds(command(PYTHON).args(["-c", "import torch, numpy"]))
}
