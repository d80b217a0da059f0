//! A report of a run for the page: plain arrays.

use wasm_bindgen::prelude::*;

/// The values that were read: `losses` always, the others if they were wanted, else undefined.
#[wasm_bindgen(getter_with_clone)]
pub struct Report {
    /// The losses of the steps since the last report.
    pub losses: Vec<f32>,
    /// The share of test digits recognised.
    pub accuracy: Option<f64>,
    /// The first layer's weights, 64 for each of 128 units.
    #[wasm_bindgen(js_name = firstLayer)]
    pub first_layer: Option<Vec<f32>>,
    /// The probabilities of the digit's ten classes.
    pub probabilities: Option<Vec<f32>>,
}

impl From<digits::Report> for Report {
    fn from(report: digits::Report) -> Self {
        let digits::Report { losses, accuracy, first_layer, probabilities } = report;
        Self { losses, accuracy, first_layer, probabilities: probabilities.map(Vec::from) }
    }
}
