//! `cargo xtask test`: every check and test in order, the fast ones first. A failure does not stop later steps.

use std::env;

use anyhow::{Context, Result, bail};

use crate::report::{Outcome, Report};
use crate::{browser, fuzz, package, run, steps, tools, torch};

/// How much of the test run to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    Full,
    /// Without the steps that rarely find anything between two edits.
    Quick,
}

type Step = fn() -> Result<Outcome>;

/// Name, whether a quick run includes it, and the step.
const STEPS: [(&str, bool, Step); 16] = [
    ("formatting", true, steps::formatting),
    ("clippy", true, steps::clippy),
    ("library on the MSRV", false, steps::msrv),
    ("programs for browsers", true, steps::wasm),
    ("documentation", false, steps::documentation),
    ("build and adapters", true, steps::build_and_adapters),
    ("tests", true, steps::tests),
    ("tests in a browser", true, browser::tests),
    ("examples", false, steps::examples),
    ("checkpoints of torch", false, torch::checkpoints),
    ("package", false, package::programs),
    ("publishing", false, tools::publish),
    ("dependencies", false, tools::deny),
    ("public interface", false, tools::semver),
    ("spelling", false, tools::typos),
    ("fuzzer", false, fuzz::checkpoint),
];

/// Runs all steps and prints the final table. Fails if a step failed. If a step depends on a failed one, for example on
/// a program that was not built, it reports that itself.
pub fn run(extent: Extent) -> Result<()> {
    env::set_current_dir(run::workspace_root()).context("the workspace's folder")?;
    let mut report = Report::default();
    for (name, quick, step) in STEPS {
        if quick || extent == Extent::Full {
            report.step(name, step);
        } else {
            report.step(name, || Ok(Outcome::NotDone("left out by --quick".to_owned())));
        }
    }
    println!("\n=== summary ===\n{report}");
    match report.failed() {
        0 => Ok(()),
        1 => bail!("a step failed: see above"),
        failed => bail!("{failed} steps failed: see above"),
    }
}
