//! The picture of a run: its loss with torch's over it, and their difference.

use std::ops::Range;
use std::path::Path;

use anyhow::Result;
use digits::TorchRun;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::canvas::{Area, SIZE, write_png};
use super::comparison::{Comparison, LOSS_BOUND};
use super::drawing::{Face, Stroke, dot, line, text, text_width};
use super::panel::{Frame, Panel};
use super::record::Run;

const OURS: RGBColor = RGBColor(96, 165, 250);
const TORCH: RGBColor = RGBColor(185, 28, 28);
const DIFFERENCE: RGBColor = RGBColor(13, 148, 136);
const EQUAL: RGBColor = RGBColor(148, 163, 184);
const BORDER: RGBColor = RGBColor(148, 163, 184);
const INK: RGBColor = RGBColor(15, 23, 42);
const GREY: RGBColor = RGBColor(100, 116, 139);

const MARGIN: f64 = 34.0;
const LEFT: f64 = 86.0;
const RIGHT: f64 = SIZE.0 as f64 - MARGIN;
const LOSS_TOP: f64 = 128.0;
const LOSS_BOTTOM: f64 = 436.0;
const DIFFERENCE_TOP: f64 = 506.0;
const BOTTOM: f64 = SIZE.1 as f64 - 56.0;

/// The steps that the recorded run's picture enlarges, if its loss leaves room for them.
const ENLARGED: Range<usize> = 600..661;
const ENLARGEMENT: Frame = Frame { left: 452.0, top: 138.0, right: RIGHT - 12.0, bottom: 248.0 };

/// Writes the picture. Without a comparison, the loss fills all of it.
pub fn draw(path: &Path, run: &Run, torch: &TorchRun, comparison: Option<&Comparison>) -> Result<()> {
    write_png(path, |area| {
        draw_title(area, run)?;
        let loss_bottom = if comparison.is_some() { LOSS_BOTTOM } else { BOTTOM };
        draw_losses(area, Frame { left: LEFT, top: LOSS_TOP, right: RIGHT, bottom: loss_bottom }, run, torch)?;
        if let Some(comparison) = comparison {
            draw_differences(area, comparison)?;
        }
        let below = Face::new(16.0, GREY).align(HPos::Center);
        text(area, "training step", ((LEFT + RIGHT) / 2.0, BOTTOM + 43.0), below)
    })
}

fn draw_title(area: &Area<'_>, run: &Run) -> Result<()> {
    let accuracy = match run.test_accuracy_per_epoch.last() {
        Some(accuracy) => format!("{:.1} % of the test digits recognised", 100.0 * accuracy),
        None => "not trained".to_owned(),
    };
    let title = format!("Handwritten digits with wgpu-adam: {accuracy}");
    text(area, &title, (MARGIN, 47.0), Face::new(30.0, INK).bold())?;
    let Run { device, lr, epochs, .. } = run;
    let unit = if *epochs == 1 { "epoch" } else { "epochs" };
    let mut subtitle = format!("on {device}   ·   64-128-10 with ReLU, batches of 64, lr {lr:?}, {epochs} {unit}");
    for words in run.gradients.words() {
        subtitle += &format!(", {words}");
    }
    text(area, &subtitle, (MARGIN, 75.0), Face::new(17.0, GREY))
}

fn draw_losses(area: &Area<'_>, frame: Frame, run: &Run, torch: &TorchRun) -> Result<()> {
    let steps = if run.loss_per_step.is_empty() { torch.loss_per_step.len() } else { run.loss_per_step.len() };
    let torch_losses = &torch.loss_per_step[..steps.min(torch.loss_per_step.len())];
    let both = || run.loss_per_step.iter().chain(torch_losses).map(|loss| f64::from(*loss));
    let panel = Panel { area, frame, steps: 0..steps, log10: log10_range(both(), -8.0..4.0) };
    panel.step_ticks()?;
    panel.decades(panel.log10.start.floor() as i32)?;
    panel.series(&run.loss_per_step, Stroke::new(OURS, 2.6))?;
    panel.series(torch_losses, Stroke::new(TORCH, 0.9).dashed(4.0, 4.0))?;
    draw_legend(area, frame, run, torch)?;

    let leaves_room = torch_losses.iter().enumerate().all(|(step, loss)| {
        let (x, y) = panel.at(step, f64::from(*loss));
        x < ENLARGEMENT.left || y > ENLARGEMENT.bottom
    });
    let both_reach_it = torch_losses.len().min(run.loss_per_step.len()) >= ENLARGED.end;
    if run.stands_alone(torch).is_none() && both_reach_it && leaves_room {
        draw_enlarged(&panel, &run.loss_per_step, torch_losses)?;
    }
    Ok(())
}

fn draw_legend(area: &Area<'_>, frame: Frame, run: &Run, torch: &TorchRun) -> Result<()> {
    let baseline = frame.top - 13.0;
    text(area, "Cross-entropy of each batch", (frame.left, baseline), Face::new(18.0, INK).bold())?;
    let version = torch.torch.split('+').next().unwrap_or_default();
    let lr = if run.lr == torch.lr { String::new() } else { format!(", lr {:?}", torch.lr) };
    let entries = [
        (format!("torch.optim.Adam (torch {version}{lr})"), Stroke::new(TORCH, 1.6).dashed(5.0, 4.0)),
        ("wgpu-adam".to_owned(), Stroke::new(OURS, 4.0)),
    ];
    let face = Face::new(16.0, INK);
    let mut right = frame.right;
    for (name, stroke) in entries {
        let left = right - text_width(area, &name, face)?;
        text(area, &name, (left, baseline), face)?;
        line(area, &[(left - 46.0, baseline - 5.0), (left - 9.0, baseline - 5.0)], stroke)?;
        right = left - 76.0;
    }
    Ok(())
}

/// Enlarges some steps, and marks their place in the whole curve.
fn draw_enlarged(panel: &Panel<'_, '_>, ours: &[f32], torch: &[f32]) -> Result<()> {
    let values = || ours[ENLARGED].iter().chain(&torch[ENLARGED]).map(|loss| f64::from(*loss));
    let log10 = log10_range(values(), -8.0..4.0);
    let enlarged = Panel { area: panel.area, frame: ENLARGEMENT, steps: ENLARGED, log10: log10.clone() };
    let (left, top) = panel.at(ENLARGED.start, 10f64.powf(log10.end));
    let (right, bottom) = panel.at(ENLARGED.end - 1, 10f64.powf(log10.start));
    let source = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)];
    line(panel.area, &source, Stroke::new(BORDER, 1.2))?;
    for (from, to) in [(left, ENLARGEMENT.left), (right, ENLARGEMENT.right)] {
        line(panel.area, &[(from, top), (to, ENLARGEMENT.bottom)], Stroke::new(BORDER, 0.8))?;
    }
    enlarged.blank(BORDER)?;
    enlarged.series(ours, Stroke::new(OURS, 4.5))?;
    enlarged.series(torch, Stroke::new(TORCH, 1.5).dashed(6.0, 5.0))?;
    let words = format!("steps {} to {}, enlarged", ENLARGED.start, ENLARGED.end - 1);
    text(panel.area, &words, (ENLARGEMENT.left + 12.0, ENLARGEMENT.bottom - 11.0), Face::new(15.0, GREY))
}

fn draw_differences(area: &Area<'_>, comparison: &Comparison) -> Result<()> {
    let frame = Frame { left: LEFT, top: DIFFERENCE_TOP, right: RIGHT, bottom: BOTTOM };
    let differences = &comparison.differences;
    let shown = log10_range(differences.iter().copied().chain([LOSS_BOUND]), -11.0..4.0);
    // Below the smallest difference is a lane for losses that are bit for bit equal.
    let lowest = shown.start.floor();
    let lane = lowest - 0.7;
    let panel = Panel { area, frame, steps: 0..differences.len(), log10: lane - 0.5..shown.end + 0.3 };
    panel.step_ticks()?;
    panel.decades(lowest as i32)?;
    let equal = 10f64.powf(lane);
    for (step, difference) in differences.iter().enumerate().filter(|(_, difference)| difference.is_finite()) {
        let (value, color) = if *difference > 0.0 { (*difference, DIFFERENCE) } else { (equal, EQUAL) };
        dot(area, panel.at(step, value.max(equal)), color, 1.7)?;
    }
    panel.level(LOSS_BOUND, Stroke::new(INK, 1.2).dashed(6.0, 4.0))?;
    panel.label(equal, "equal", Face::new(15.0, GREY).align(HPos::Right))?;
    text(area, "Difference from torch's loss", (frame.left, frame.top - 13.0), Face::new(18.0, INK).bold())?;
    let summary = format!("largest {:.1e}, allowed {LOSS_BOUND:e} (dashed)", comparison.worst());
    text(area, &summary, (frame.right, frame.top - 13.0), Face::new(16.0, INK).align(HPos::Right))
}

/// The range of the logarithms of all positive values, slightly widened and limited to `most`.
fn log10_range(values: impl Iterator<Item = f64>, most: Range<f64>) -> Range<f64> {
    let (mut smallest, mut largest) = (most.end, most.start);
    for value in values.filter(|value| value.is_finite() && *value > 0.0) {
        smallest = value.log10().min(smallest);
        largest = value.log10().max(largest);
    }
    if smallest > largest {
        return -1.0..1.0;
    }
    let within = |log10: f64| log10.clamp(most.start, most.end);
    within(smallest - 0.15)..within(largest + 0.15).max(within(smallest - 0.15) + 0.3)
}
