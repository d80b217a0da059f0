//! All measurements, as one JSON document.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::host::{Making, Recording};
use crate::rows::Measured;

#[derive(Serialize)]
pub struct Report {
    pub quick: bool,
    pub adapters: Vec<Adapter>,
}

#[derive(Default, Serialize)]
pub struct Adapter {
    pub name: String,
    /// Empty on the noop device, which does not step.
    pub rows: Vec<Measured>,
    pub recordings: Vec<Recording>,
    pub makings: Vec<Making>,
}

pub fn write(report: &Report, file: &Path) -> Result<()> {
    let text = serde_json::to_string_pretty(report)?;
    std::fs::write(file, text + "\n").with_context(|| format!("writing {}", file.display()))
}
