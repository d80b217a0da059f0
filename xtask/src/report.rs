//! The steps of a run: the result of each, its duration, and the final table.

use std::fmt::{self, Display, Formatter};
use std::time::{Duration, Instant};

use anyhow::Result;

/// The result of a step that did not fail.
pub enum Outcome {
    Done,
    /// With the adapters that it ran on.
    DoneOn(Vec<String>),
    /// With the reason why it did not run, in this run or on this machine.
    NotDone(String),
}

/// The result of a step.
enum Verdict {
    /// With the adapters that the step ran on, if it needs any.
    Passed(Vec<String>),
    /// With the reason.
    Failed(String),
    NotDone(String),
}

struct Entry {
    name: &'static str,
    verdict: Verdict,
    time: Duration,
}

/// The results of the steps so far.
#[derive(Default)]
pub struct Report {
    entries: Vec<Entry>,
}

impl Report {
    /// Runs a step under a heading, whatever the results of earlier steps: one failure must not hide another.
    pub fn step(&mut self, name: &'static str, step: impl FnOnce() -> Result<Outcome>) {
        let start = Instant::now();
        println!("\n=== {name} ===");
        let verdict = match step() {
            Ok(Outcome::Done) => Verdict::Passed(Vec::new()),
            Ok(Outcome::DoneOn(adapters)) => Verdict::Passed(adapters),
            Ok(Outcome::NotDone(reason)) => {
                println!("not done: {reason}");
                Verdict::NotDone(reason)
            }
            Err(error) => {
                let reason = format!("{error:#}");
                println!("failed: {reason}");
                Verdict::Failed(reason)
            }
        };
        self.entries.push(Entry { name, verdict, time: start.elapsed() });
    }

    /// The number of failed steps.
    pub fn failed(&self) -> usize {
        self.count(|verdict| matches!(verdict, Verdict::Failed(_)))
    }

    fn count(&self, which: impl Fn(&Verdict) -> bool) -> usize {
        self.entries.iter().filter(|entry| which(&entry.verdict)).count()
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for Entry { name, verdict, time } in &self.entries {
            write!(f, "{name:<22} {:>7.1} s  ", time.as_secs_f64())?;
            match verdict {
                Verdict::Passed(adapters) if adapters.is_empty() => writeln!(f, "passed")?,
                Verdict::Passed(adapters) => {
                    writeln!(f, "passed on")?;
                    adapters.iter().try_for_each(|adapter| writeln!(f, "{:36}{adapter}", ""))?;
                }
                // Errors may have many lines; a table row has one.
                Verdict::Failed(reason) => {
                    writeln!(f, "FAILED")?;
                    reason.lines().try_for_each(|line| writeln!(f, "{:36}{line}", ""))?;
                }
                Verdict::NotDone(reason) => writeln!(f, "not done: {reason}")?,
            }
        }
        let passed = self.count(|verdict| matches!(verdict, Verdict::Passed(_)));
        let failed = self.failed();
        let not_done = self.entries.len() - passed - failed;
        // On a separate line in this form, because programs that watch test runs parse it.
        write!(f, "\n{passed} passed, {failed} failed")?;
        if not_done > 0 {
            write!(f, ", {not_done} skipped")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_hides_no_other() {
        let mut report = Report::default();
        report.step("first", || Ok(Outcome::Done));
        report.step("second", || Ok(Outcome::NotDone("no tool".to_owned())));
        assert_eq!(report.failed(), 0);
        report.step("third", || anyhow::bail!("broken\nin two places"));
        let mut ran = false;
        report.step("fourth", || {
            ran = true;
            Ok(Outcome::Done)
        });
        report.step("fifth", || Err(anyhow::anyhow!("no such file").context("reading it")));
        assert!(ran && report.failed() == 2);
        let text = report.to_string();
        let line = |line: &str| text.lines().any(|other| other.trim() == line);
        assert!(text.matches("FAILED").count() == 2, "{text}");
        assert!(line("broken") && line("in two places") && line("reading it: no such file"), "{text}");
        assert!(text.ends_with("\n2 passed, 2 failed, 1 skipped"), "{text}");
    }

    #[test]
    fn a_clean_run_has_no_skipped_steps_and_tells_the_adapters() {
        let mut report = Report::default();
        report.step("only", || Ok(Outcome::DoneOn(vec!["Vulkan Big".to_owned()])));
        let text = report.to_string();
        assert!(text.contains("passed on\n") && text.contains(" Vulkan Big\n"), "{text}");
        assert!(text.ends_with("\n1 passed, 0 failed"));
    }
}
