//! Texts, lines and dots in units of the layout.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::canvas::{Area, FONT, samples, units};

/// The style of a text.
#[derive(Clone, Copy)]
pub struct Face {
    pub size: f64,
    pub color: RGBColor,
    pub bold: bool,
    pub align: HPos,
}

impl Face {
    pub fn new(size: f64, color: RGBColor) -> Self {
        Self { size, color, bold: false, align: HPos::Left }
    }

    pub fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    pub fn align(self, align: HPos) -> Self {
        Self { align, ..self }
    }

    fn style(self) -> TextStyle<'static> {
        let style = if self.bold { FontStyle::Bold } else { FontStyle::Normal };
        let font = (FONT, f64::from(samples(self.size)), style);
        let mut style = TextStyle::from(font.into_font()).pos(Pos::new(self.align, VPos::Top));
        style.color = self.color.to_backend_color();
        style
    }
}

/// The style of a line.
#[derive(Clone, Copy)]
pub struct Stroke {
    pub color: RGBColor,
    pub width: f64,
    /// Lengths of the dashes and of the gaps between them.
    pub dashes: Option<(f64, f64)>,
}

impl Stroke {
    pub fn new(color: RGBColor, width: f64) -> Self {
        Self { color, width, dashes: None }
    }

    pub fn dashed(self, dash: f64, gap: f64) -> Self {
        Self { dashes: Some((dash, gap)), ..self }
    }
}

/// Sets a text with its baseline at `at`.
pub fn text(area: &Area<'_>, words: &str, at: (f64, f64), face: Face) -> Result<()> {
    // plotters sets the baseline half the font's size below the anchor.
    let anchor = (samples(at.0), samples(at.1 - face.size / 2.0));
    area.draw(&Text::new(words.to_owned(), anchor, face.style()))?;
    Ok(())
}

/// The width of a text.
pub fn text_width(area: &Area<'_>, words: &str, face: Face) -> Result<f64> {
    Ok(units(area.estimate_text_size(words, &face.style())?.0))
}

/// Draws a line through points.
pub fn line(area: &Area<'_>, points: &[(f64, f64)], stroke: Stroke) -> Result<()> {
    match stroke.dashes {
        None => solid(area, points, stroke),
        Some((dash, gap)) => dashes(points, dash, gap).iter().try_for_each(|piece| solid(area, piece, stroke)),
    }
}

/// Draws a filled circle.
pub fn dot(area: &Area<'_>, at: (f64, f64), color: RGBColor, radius: f64) -> Result<()> {
    area.draw(&Circle::new((samples(at.0), samples(at.1)), samples(radius), color.filled()))?;
    Ok(())
}

fn solid(area: &Area<'_>, points: &[(f64, f64)], stroke: Stroke) -> Result<()> {
    let style = ShapeStyle::from(&stroke.color).stroke_width(samples(stroke.width) as u32).filled();
    for pair in points.windows(2) {
        let ends = [pair[0], pair[1]].map(|(x, y)| (samples(x), samples(y)));
        area.draw(&PathElement::new(ends, style))?;
    }
    // Round joints: segments alone leave notches where the line turns sharply.
    if points.len() > 2 {
        for point in &points[1..points.len() - 1] {
            dot(area, *point, stroke.color, stroke.width / 2.0)?;
        }
    }
    Ok(())
}

/// Cuts a line into its dashes.
fn dashes(points: &[(f64, f64)], dash: f64, gap: f64) -> Vec<Vec<(f64, f64)>> {
    let mut pieces = Vec::new();
    let mut piece: Vec<(f64, f64)> = Vec::new();
    let mut travelled = 0.0;
    for pair in points.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let length = (to.0 - from.0).hypot(to.1 - from.1);
        let at = |distance: f64| {
            let share = distance / length;
            (from.0 + share * (to.0 - from.0), from.1 + share * (to.1 - from.1))
        };
        let mut done = 0.0;
        while done < length {
            let phase = travelled % (dash + gap);
            let end_of_phase = if phase < dash { dash } else { dash + gap };
            // Rounding may leave a phase of length zero; the line continues anyway.
            let advance = (end_of_phase - phase).max(0.01).min(length - done);
            if phase < dash {
                if piece.is_empty() {
                    piece.push(at(done));
                }
                piece.push(at(done + advance));
            } else {
                pieces.push(std::mem::take(&mut piece));
            }
            done += advance;
            travelled += advance;
        }
    }
    pieces.push(piece);
    pieces
}
