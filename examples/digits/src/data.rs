//! The handwritten digits.

use anyhow::{Context, Result, ensure};

/// Pixels of one digit, 8 rows of 8.
pub const PIXELS: usize = 64;
/// Classes: the digits 0 to 9.
pub const CLASSES: usize = 10;

#[cfg(not(target_family = "wasm"))]
const CSV_GZ: &[u8] = include_bytes!("../data/digits.csv.gz");
const BRIGHTEST: f32 = 16.0;
const TEST_EVERY: usize = 5;

/// One handwritten digit.
#[derive(Clone, Debug, PartialEq)]
pub struct Digit {
    /// Row by row, 0 for paper and 1 for ink.
    pub pixels: [f32; PIXELS],
    /// The class, 0 to 9.
    pub label: u8,
}

/// The digits, split into a training set and a test set.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The rows for training.
    pub train: Vec<Digit>,
    /// Every fifth row, from row 0.
    pub test: Vec<Digit>,
}

impl Dataset {
    /// The data set in the program: 1437 digits for training and 360 for testing. A page fetches it instead.
    #[cfg(not(target_family = "wasm"))]
    pub fn embedded() -> Result<Self> {
        use std::io::Read;

        let mut csv = String::new();
        flate2::read::GzDecoder::new(CSV_GZ).read_to_string(&mut csv).context("the embedded digits.csv.gz")?;
        Self::parse(&csv)
    }

    /// Reads one digit a line: 64 pixels of 0 to 16 and the class, separated by commas.
    pub fn parse(csv: &str) -> Result<Self> {
        let mut dataset = Self { train: Vec::new(), test: Vec::new() };
        for (row, line) in csv.lines().enumerate() {
            let digit = parse_digit(line).with_context(|| format!("line {} of the digits", row + 1))?;
            let part = if row % TEST_EVERY == 0 { &mut dataset.test } else { &mut dataset.train };
            part.push(digit);
        }
        ensure!(!dataset.train.is_empty(), "at least two digits are needed: one to test with, one to train on");
        Ok(dataset)
    }
}

fn parse_digit(line: &str) -> Result<Digit> {
    let (pixel_fields, label_field) = line.rsplit_once(',').context("no comma")?;
    let pixels = pixel_fields
        .split(',')
        .map(|field| Ok(f32::from(field.trim().parse::<u8>()?) / BRIGHTEST))
        .collect::<Result<Vec<f32>>>()
        .context("a pixel is no number")?;
    let count = pixels.len();
    let pixels = pixels.try_into().ok().with_context(|| format!("{count} pixels, not {PIXELS}"))?;
    let label = label_field.trim().parse::<u8>().context("the class is no number")?;
    ensure!(usize::from(label) < CLASSES, "class {label} is none of 0 to {}", CLASSES - 1);
    Ok(Digit { pixels, label })
}
