//! A device that is lost at any point of a step: errors or harmless success, no panic, no endless wait, and nothing for
//! the application's handler. Also a run that continues on a new device.

mod changes;
mod control;
mod resuming;
mod running;
mod steps;

use anyhow::{Result, bail};

pub use running::{Expect, Point};

use crate::{Body, Gpu, body};

pub const BODIES: &[(&str, Body)] = &[
    body!("lost device/every point ends in an error or harmlessly", gpu => every_point(gpu)),
    body!("lost device/a run goes on on a new one", gpu => resuming::goes_on(gpu)),
];

/// All points. Each requires a separate device.
pub fn points() -> impl Iterator<Item = &'static Point> {
    steps::POINTS.iter().chain(changes::POINTS).chain(control::POINTS)
}

async fn every_point(gpu: &Gpu) -> Result<()> {
    let mut failures = Vec::new();
    for point in points() {
        let gpu = Gpu::default_limits(&gpu.adapter).await?;
        let came = (point.run)(&gpu.device, &gpu.queue).await;
        if !point.expect.is_met_by(&came) {
            failures.push(format!("{}: {came:?} instead of {:?}", point.name, point.expect));
        }
        if let Err(error) = gpu.check_errors() {
            failures.push(format!("{}: {error}", point.name));
        }
    }
    if !failures.is_empty() {
        bail!("{} points:\n{}", failures.len(), failures.join("\n"));
    }
    Ok(())
}
