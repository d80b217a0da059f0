//! Digits drawn on the page.

use anyhow::{Result, ensure};
use digits::{Dataset, Digit};
use wgpu_adam_browser::Look;

use crate::{KEEP_DEVICE, Page, Site};

/// A pixel of the data set that counts as ink.
const INK: f32 = 0.4;
/// Digits drawn from pixels are harder to recognise than the originals.
const LEAST_OF_TEN: usize = 8;

type Stroke = Vec<(f64, f64)>;

/// Strokes over the digit's dark pixels, from each to its right and lower neighbour, in coordinates from 0 to 1.
fn strokes(digit: &Digit) -> Vec<Stroke> {
    let ink = |x: usize, y: usize| x < 8 && y < 8 && digit.pixels[y * 8 + x] > INK;
    let place = |at: usize| 0.12 + 0.76 * (at as f64 + 0.5) / 8.0;
    let mut strokes: Vec<Stroke> = Vec::new();
    for (dx, dy) in [(1, 0), (0, 1)] {
        for (x, y) in (0..64).map(|at| (at % 8, at / 8)) {
            let begins = ink(x, y) && !(x >= dx && y >= dy && ink(x - dx, y - dy));
            let length = (0..8).take_while(|&far| ink(x + far * dx, y + far * dy)).count();
            if begins && length > 1 {
                strokes.push((0..length).map(|far| (place(x + far * dx), place(y + far * dy))).collect());
            }
        }
    }
    strokes
}

/// The first test digit of each class.
fn one_of_each() -> Result<Vec<Digit>> {
    let test = Dataset::embedded()?.test;
    Ok((0..10).filter_map(|class| test.iter().find(|digit| digit.label == class).cloned()).collect())
}

/// Draws a digit and returns the class that the page shows for it.
fn draw(page: &Page, digit: &Digit, stroke: impl Fn(&[(f64, f64)]) -> Result<()>) -> Result<Option<u8>> {
    page.tab.click("#clear")?;
    page.until("document.body.dataset.digit === ''")?;
    let [left, top, width, height] = page.tab.place_of("#pad")?;
    for points in strokes(digit) {
        let points: Vec<_> = points.iter().map(|(x, y)| (left + x * width, top + y * height)).collect();
        stroke(&points)?;
    }
    // The classification includes the last stroke, not only the first.
    page.until("document.body.dataset.digit !== '' && document.body.dataset.looked === 'true'")?;
    Ok(page.tab.eval::<String>("document.body.dataset.digit")?.parse().ok())
}

pub fn mouse(site: &Site) -> Result<()> {
    let page = site.open("?autostart=1&epochs=16", KEEP_DEVICE)?;
    page.state("done")?;
    let mut read = Vec::new();
    for digit in one_of_each()? {
        read.push((digit.label, draw(&page, &digit, |points| page.tab.drag(points))?));
        let shares: Vec<f64> = page.tab.eval(
            "[...document.querySelectorAll('#bars li')].map(bar => Number(bar.style.getPropertyValue('--share')))",
        )?;
        ensure!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-2, "the bars are {shares:?}");
    }
    let right = read.iter().filter(|(drawn, seen)| Some(*drawn) == *seen).count();
    ensure!(right >= LEAST_OF_TEN, "{right} of 10 were recognised: {read:?}");
    eprintln!("{right} of 10 drawn digits recognised");
    page.check()
}

pub fn finger(site: &Site) -> Result<()> {
    let page = site.open_as("?autostart=1&epochs=10", KEEP_DEVICE, Look::NARROW)?;
    page.state("done")?;
    let zero = &one_of_each()?[0];
    let seen = draw(&page, zero, |points| page.tab.swipe(points))?;
    ensure!(seen == Some(0), "a 0 was taken for {seen:?}");
    let wide: bool = page.tab.eval("document.documentElement.scrollWidth > innerWidth")?;
    ensure!(!wide, "the page is wider than a phone");
    page.check()
}

pub fn sample(site: &Site) -> Result<()> {
    let page = site.ready("?epochs=2")?;
    // Without the digit that the page shows by itself.
    page.tab.click("#clear")?;
    page.until("document.body.dataset.digit === ''")?;
    page.tab.click("#sample")?;
    page.until("document.body.dataset.digit !== ''")?;
    ensure!(page.text("verdict")?.contains(" guesses a"), "the verdict is {}", page.text("verdict")?);
    // The digit is classified again as the model learns.
    page.tab.click("#start")?;
    page.state("done")?;
    page.shows("verdict", ".startsWith('Looks like a')")?;
    page.tab.click("#clear")?;
    page.until("document.body.dataset.digit === ''")?;
    page.check()
}
