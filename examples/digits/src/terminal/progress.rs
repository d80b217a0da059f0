//! The progress display during training.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use anyhow::Result;
use digits::Curves;
use indicatif::{ProgressBar, ProgressStyle};

const TEMPLATE: &str = "{bar:32.cyan/blue} step {pos}/{len}  epoch {prefix}  {msg}  {elapsed}";
const LINE_EVERY: usize = 5;

/// A progress bar on a terminal, a line every few epochs elsewhere.
pub struct Progress {
    bar: ProgressBar,
    epochs: usize,
    /// Steps of an earlier run.
    before: u64,
    started: Instant,
}

impl Progress {
    /// `before` is the number of steps of an earlier run.
    pub fn new(epochs: usize, steps_per_epoch: usize, before: u64) -> Result<Self> {
        let bar = if stderr().is_terminal() {
            ProgressBar::new((epochs * steps_per_epoch) as u64)
        } else {
            ProgressBar::hidden()
        };
        bar.set_style(ProgressStyle::with_template(TEMPLATE)?.progress_chars("━╸─"));
        bar.set_prefix(format!("0/{epochs}"));
        bar.set_position(before);
        bar.enable_steady_tick(Duration::from_millis(200));
        Ok(Self { bar, epochs, before, started: Instant::now() })
    }

    /// Reports the end of an epoch: the `steps` so far, and the statistics of the gradients.
    pub fn epoch(&self, steps: u64, curves: &Curves, gradients: &str) {
        let (epoch, loss) = (curves.accuracies.len(), curves.losses.last().copied().unwrap_or(f32::NAN));
        let accuracy = curves.accuracies.last().copied().unwrap_or(f64::NAN);
        let rate = self.steps_per_second(steps);
        let message = format!("loss {loss:.6}  test accuracy {:.2} %{gradients}  {rate:.0} steps/s", 100.0 * accuracy);
        if self.bar.is_hidden() && (epoch.is_multiple_of(LINE_EVERY) || epoch == 1 || epoch == self.epochs) {
            println!("epoch {epoch:>3}/{}  {message}", self.epochs);
        }
        self.bar.set_prefix(format!("{epoch}/{}", self.epochs));
        self.bar.set_message(message);
        self.bar.set_position(steps);
    }

    /// Removes the bar and returns the average rate of the whole run.
    pub fn finish(self, steps: u64) -> f64 {
        let rate = self.steps_per_second(steps);
        self.bar.finish_and_clear();
        rate
    }

    fn steps_per_second(&self, steps: u64) -> f64 {
        steps.saturating_sub(self.before) as f64 / self.started.elapsed().as_secs_f64().max(1e-9)
    }
}
