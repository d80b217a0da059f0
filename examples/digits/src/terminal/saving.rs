//! Checkpoints of a run: when to save, and Ctrl-C.

use std::path::PathBuf;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use digits::{Curves, Trainer};

use super::blocking::wait;
use super::options::Options;

/// The exit code of a program that Ctrl-C ends.
pub const INTERRUPTED: u8 = 130;

/// The file for checkpoints and their frequency, if any.
pub struct Saving {
    file: Option<PathBuf>,
    every: Option<u64>,
    interrupted: Arc<AtomicBool>,
}

impl Saving {
    /// With a file for checkpoints, Ctrl-C requests a last checkpoint; a second Ctrl-C does not wait for it.
    pub fn new(options: &Options) -> Result<Self> {
        let interrupted = Arc::new(AtomicBool::new(false));
        if options.checkpoint.is_some() {
            let flag = Arc::clone(&interrupted);
            let on_signal = move || {
                if flag.swap(true, Ordering::Relaxed) {
                    process::exit(INTERRUPTED.into());
                }
            };
            ctrlc::set_handler(on_signal).context("setting what Ctrl-C does")?;
        }
        Ok(Self { file: options.checkpoint.clone(), every: options.save_every, interrupted })
    }

    /// Whether Ctrl-C was pressed.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Whether a checkpoint is due after this many steps.
    pub fn is_due(&self, steps: u64) -> bool {
        self.every.is_some_and(|every| steps.is_multiple_of(every))
    }

    /// Writes a checkpoint with the curves so far. All losses must have been read.
    pub fn save(&self, device: &wgpu::Device, trainer: &mut Trainer, curves: &Curves) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let saved = trainer.adam().save_checkpoint_with(file.clone(), &curves.contents()?);
        wait(device, async { saved.await.with_context(|| format!("saving {}", file.display())) })
    }
}
