//! What a run leaves behind.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

/// A run in the terms of the recorded torch run; losses that are no numbers become null in the JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    pub adapter: String,
    /// The adapter in fewer words, for the picture.
    #[serde(skip)]
    pub device: String,
    pub lr: f64,
    pub epochs: usize,
    pub loss_per_step: Vec<f32>,
    pub test_accuracy_per_epoch: Vec<f64>,
}

impl Run {
    /// Writes the run as JSON.
    pub fn write(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self)?;
        fs::write(path, json + "\n").with_context(|| format!("writing {}", path.display()))
    }
}

/// `target/digits` of the workspace, created if need be.
pub fn output_folder() -> Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = manifest.ancestors().nth(2).unwrap_or(manifest);
    let folder = workspace.join("target").join("digits");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    Ok(folder)
}

/// The path as seen from the current folder, where that is shorter.
pub fn shortened(path: &Path) -> String {
    let inside = std::env::current_dir().ok().and_then(|current| path.strip_prefix(current).ok().map(Path::to_owned));
    inside.unwrap_or_else(|| path.to_owned()).display().to_string()
}
