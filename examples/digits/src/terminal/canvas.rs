//! A smooth bitmap. Drawn larger and then averaged down, because plotters does not smooth thick lines.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

/// The drawing area of plotters here.
pub type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;

/// The family name of the embedded font; its bold style is the medium weight.
pub const FONT: &str = "Roboto";

/// Size of the picture in the units of the layout.
pub const SIZE: (i32, i32) = (1200, 700);

const PIXELS_PER_UNIT: f64 = 1.5;
const SAMPLES: usize = 3;
const CHANNELS: usize = 3;

const REGULAR: &[u8] = include_bytes!("../../assets/Roboto-Regular.subset.ttf");
const MEDIUM: &[u8] = include_bytes!("../../assets/Roboto-Medium.subset.ttf");

/// Converts lengths of the layout into samples of the bitmap.
pub fn samples(units: f64) -> i32 {
    (units * PIXELS_PER_UNIT * SAMPLES as f64).round() as i32
}

/// The inverse of [`samples`].
pub fn units(samples: u32) -> f64 {
    f64::from(samples) / PIXELS_PER_UNIT / SAMPLES as f64
}

/// Calls `draw` with a white bitmap of [`SIZE`] units, and writes the result to `path` as PNG.
pub fn write_png(path: &Path, draw: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<()> {
    for (style, font) in [(FontStyle::Normal, REGULAR), (FontStyle::Bold, MEDIUM)] {
        register_font(FONT, style, font).map_err(|_| anyhow!("the embedded font is not readable"))?;
    }
    let width = samples(f64::from(SIZE.0)) as usize;
    let height = samples(f64::from(SIZE.1)) as usize;
    let mut bitmap = vec![0; width * height * CHANNELS];
    {
        let area = BitMapBackend::with_buffer(&mut bitmap, (width as u32, height as u32)).into_drawing_area();
        area.fill(&WHITE)?;
        draw(&area)?;
        area.present()?;
    }
    let picture = averaged_down(&bitmap, width);
    let size = ((width / SAMPLES) as u32, (height / SAMPLES) as u32);
    let output = BitMapBackend::new(path, size).into_drawing_area();
    let element =
        BitMapElement::with_ref((0, 0), size, &picture).ok_or_else(|| anyhow!("the picture has the wrong size"))?;
    output.draw(&element)?;
    output.present()?;
    Ok(())
}

/// Every square of samples becomes one pixel, their mean.
fn averaged_down(bitmap: &[u8], width: usize) -> Vec<u8> {
    let height = bitmap.len() / CHANNELS / width;
    let mut picture = Vec::with_capacity(bitmap.len() / SAMPLES / SAMPLES);
    for y in 0..height / SAMPLES {
        for x in 0..width / SAMPLES {
            for channel in 0..CHANNELS {
                let mut sum = 0;
                for row in y * SAMPLES..(y + 1) * SAMPLES {
                    for column in x * SAMPLES..(x + 1) * SAMPLES {
                        sum += usize::from(bitmap[(row * width + column) * CHANNELS + channel]);
                    }
                }
                picture.push((sum / (SAMPLES * SAMPLES)) as u8);
            }
        }
    }
    picture
}
