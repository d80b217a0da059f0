//! One diagram of the picture: a linear axis of training steps and a logarithmic vertical axis.

use std::ops::Range;

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::canvas::{Area, samples};
use super::drawing::{Face, Stroke, line, text};

const GREY: RGBColor = RGBColor(107, 114, 128);
const GRID: RGBColor = RGBColor(226, 232, 240);
const FAINT_GRID: RGBColor = RGBColor(243, 245, 248);
const TICK_SIZE: f64 = 15.0;
const MOST_STEP_TICKS: f64 = 11.0;
const MOST_DECADES: f64 = 5.0;

/// A rectangle in units of the layout.
#[derive(Clone, Copy)]
pub struct Frame {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

/// Axes in a frame: steps from left to right, a range of log10 upwards.
pub struct Panel<'a, 'b> {
    pub area: &'a Area<'b>,
    pub frame: Frame,
    pub steps: Range<usize>,
    pub log10: Range<f64>,
}

impl Panel<'_, '_> {
    /// The place of a step's value, in units of the layout.
    pub fn at(&self, step: usize, value: f64) -> (f64, f64) {
        let Frame { left, top, right, bottom } = self.frame;
        let first = self.steps.start as f64;
        let across = (step as f64 - first) / (self.steps.len().max(2) - 1) as f64;
        let up = (value.log10() - self.log10.start) / (self.log10.end - self.log10.start);
        (left + across * (right - left), bottom - up * (bottom - top))
    }

    /// Draws a series that begins at step 0, with gaps where values are not on the axis.
    pub fn series(&self, values: &[f32], stroke: Stroke) -> Result<()> {
        let mut piece = Vec::new();
        for (step, value) in values.iter().enumerate().take(self.steps.end).skip(self.steps.start) {
            let value = f64::from(*value);
            if value > 0.0 && self.log10.contains(&value.log10()) {
                piece.push(self.at(step, value));
            } else {
                line(self.area, &std::mem::take(&mut piece), stroke)?;
            }
        }
        line(self.area, &piece, stroke)
    }

    /// Draws the powers of ten from `lowest` on, with their labels, and fainter lines between them.
    pub fn decades(&self, lowest: i32) -> Result<()> {
        let every = ((self.log10.end - self.log10.start) / MOST_DECADES).ceil().max(1.0) as i32;
        let face = Face::new(TICK_SIZE, GREY).align(HPos::Right);
        for decade in lowest..=self.log10.end.floor() as i32 {
            for multiple in 2..10 {
                self.level(10f64.powi(decade) * f64::from(multiple), Stroke::new(FAINT_GRID, 0.7))?;
            }
        }
        for decade in lowest.max(self.log10.start.ceil() as i32)..=self.log10.end.floor() as i32 {
            let value = 10f64.powi(decade);
            self.level(value, Stroke::new(GRID, 1.0))?;
            if decade.rem_euclid(every) == 0 {
                self.label(value, &power_of_ten(decade), face)?;
            }
        }
        Ok(())
    }

    /// Draws a horizontal line, if it is on the axis.
    pub fn level(&self, value: f64, stroke: Stroke) -> Result<()> {
        if !self.log10.contains(&value.log10()) {
            return Ok(());
        }
        let y = self.at(self.steps.start, value).1;
        line(self.area, &[(self.frame.left, y), (self.frame.right, y)], stroke)
    }

    /// Sets a label left of the frame at the height of a value.
    pub fn label(&self, value: f64, words: &str, face: Face) -> Result<()> {
        let y = self.at(self.steps.start, value).1;
        text(self.area, words, (self.frame.left - 10.0, y + 0.3 * face.size), face)
    }

    /// Draws round numbers of steps, with their labels.
    pub fn step_ticks(&self) -> Result<()> {
        let Frame { top, bottom, .. } = self.frame;
        let face = Face::new(TICK_SIZE, GREY).align(HPos::Center);
        for step in self.steps.clone().step_by(step_between_ticks(self.steps.len())) {
            let x = self.at(step, 1.0).0;
            line(self.area, &[(x, top), (x, bottom)], Stroke::new(GRID, 1.0))?;
            text(self.area, &step.to_string(), (x, bottom + 20.0), face)?;
        }
        Ok(())
    }

    /// Fills the frame with white and draws its border.
    pub fn blank(&self, border: RGBColor) -> Result<()> {
        let Frame { left, top, right, bottom } = self.frame;
        let corners = [(samples(left), samples(top)), (samples(right), samples(bottom))];
        self.area.draw(&Rectangle::new(corners, WHITE.filled()))?;
        let outline = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)];
        line(self.area, &outline, Stroke::new(border, 1.2))
    }
}

/// The smallest of 1, 2, 5, 10, 20, ... that leaves room for the labels.
fn step_between_ticks(steps: usize) -> usize {
    let candidates = (0..12).flat_map(|power| [1, 2, 5].map(|digit| digit * 10usize.pow(power)));
    candidates.into_iter().find(|every| steps as f64 / *every as f64 <= MOST_STEP_TICKS).unwrap_or(steps)
}

fn power_of_ten(exponent: i32) -> String {
    const SUPERSCRIPTS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let raised = |character: char| match character.to_digit(10) {
        Some(digit) => SUPERSCRIPTS[digit as usize],
        None => '⁻',
    };
    format!("10{}", exponent.to_string().chars().map(raised).collect::<String>())
}
