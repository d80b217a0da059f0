//! A run's results as files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use digits::TorchRun;
use serde::Serialize;

use super::gradients::Gradients;

/// A run in the form of the recorded torch run; losses that are not numbers become null in the JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    pub adapter: String,
    /// A shorter name of the adapter, for the picture.
    #[serde(skip)]
    pub device: String,
    pub lr: f64,
    pub epochs: usize,
    pub gradients: Gradients,
    pub steps_skipped: u64,
    pub loss_per_step: Vec<f32>,
    pub test_accuracy_per_epoch: Vec<f64>,
}

impl Run {
    /// Writes the run as JSON.
    pub fn write(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self)?;
        fs::write(path, json + "\n").with_context(|| format!("writing {}", path.display()))
    }

    /// The reason why the run cannot be compared with torch's recorded one, if there is one.
    pub fn stands_alone(&self, torch: &TorchRun) -> Option<String> {
        if self.lr != torch.lr {
            return Some(format!("torch's recorded run has lr {:?}", torch.lr));
        }
        if self.gradients.clip_norm.is_some() {
            return Some("torch's recorded run does not clip gradients".to_owned());
        }
        if self.steps_skipped > 0 {
            return Some("torch's recorded run skips no steps".to_owned());
        }
        self.loss_per_step.is_empty().then(|| "no steps were taken".to_owned())
    }
}

/// The folder, by default the workspace's `target/digits`; created if it is missing.
pub fn output_folder(wanted: Option<&Path>) -> Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = manifest.ancestors().nth(2).unwrap_or(manifest);
    let folder = wanted.map_or_else(|| workspace.join("target").join("digits"), Path::to_owned);
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    Ok(folder)
}

/// The path relative to the current folder, if that is shorter.
pub fn shortened(path: &Path) -> String {
    let inside = std::env::current_dir().ok().and_then(|current| path.strip_prefix(current).ok().map(Path::to_owned));
    inside.unwrap_or_else(|| path.to_owned()).display().to_string()
}
