//! Opens the page in a headless browser, waits for its measurements and prints them.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use wgpu_adam_browser::{Browser, Look, Server};

/// Time limit for all measurements on a software adapter.
const PATIENCE: Duration = Duration::from_secs(600);

/// The measurements for one size.
#[derive(Deserialize)]
struct Row {
    tensors: u32,
    elements: u32,
    arena_ms: f64,
    buffers_ms: f64,
    tfjs_ms: f64,
    /// The largest difference between the two after the first step.
    difference: f64,
}

pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let folder = std::env::args().nth(1).context("usage: bench-web FOLDER-OF-THE-PAGE")?;
    let server = Server::start(&[("/", Path::new(&folder))])?;
    let browser = Browser::start()?;
    let tab = browser.open(&server.url("/?autostart=1"), Look::WIDE)?;
    let adapter = tab.adapter()?.with_context(|| format!("{} gives no WebGPU adapter", browser.name()))?;
    println!("{}, {adapter}", browser.name());
    tab.wait_for("['done', 'error'].includes(document.body.dataset.state)", PATIENCE)?;
    let state: String = tab.eval("document.body.dataset.state")?;
    let verdict: String = tab.eval("document.getElementById('verdict').textContent")?;
    ensure!(state == "done", "{verdict}");
    let rows: Vec<Row> = tab.eval("window.rows")?;
    println!("\nmilliseconds a step, the median of the rounds\n");
    println!("{:>20}  {:>9}  {:>11}  {:>13}  {:>13}", "tensors", "arena", "own buffers", "TF.js 4.22", "TF.js / arena");
    for row in rows {
        let tensors = format!("{} x {}", row.tensors, row.elements);
        let ratio = row.tfjs_ms / row.arena_ms;
        println!(
            "{tensors:>20}  {:>9.2}  {:>11.2}  {:>13.1}  {ratio:>13.1}",
            row.arena_ms, row.buffers_ms, row.tfjs_ms
        );
        ensure!(row.difference < 1e-6, "the two differ by {} after a step", row.difference);
    }
    tab.check_clean()
}
