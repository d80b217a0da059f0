//! Runs on the host, and their files, for downloading, opening and storing.

use digits::Curves;
use wasm_bindgen::prelude::*;
use wgpu_adam::{Checkpoint, StateDict};

use super::thrown;

/// A run on the host.
#[wasm_bindgen]
pub struct Saved(pub(super) digits::Saved);

#[wasm_bindgen]
impl Saved {
    /// Steps taken.
    #[wasm_bindgen(getter)]
    pub fn steps(&self) -> f64 {
        self.0.steps as f64
    }

    /// The file that the terminal program would write, with the loss of every step and the accuracy after every epoch.
    pub fn checkpoint(&self, losses: Vec<f32>, accuracies: Vec<f64>) -> Result<Vec<u8>, JsError> {
        let mut saved = self.0.clone();
        drop_unused_maxima(&mut saved.adam);
        saved.to_checkpoint(&Curves { losses, accuracies }).map_err(thrown)
    }
}

/// A checkpoint that was read and contains a run of this model.
#[wasm_bindgen]
pub struct Opened {
    saved: digits::Saved,
    curves: Curves,
}

#[wasm_bindgen]
impl Opened {
    /// Reads and verifies a file's bytes.
    pub fn read(bytes: Vec<u8>) -> Result<Opened, JsError> {
        let checkpoint = Checkpoint::from_bytes(bytes)?;
        let mut saved = digits::Saved::of(&checkpoint).map_err(thrown)?;
        let curves = Curves::of(&checkpoint).map_err(thrown)?;
        add_maxima(&mut saved.adam);
        Ok(Self { saved, curves })
    }

    /// The run, for `restore`.
    pub fn saved(&self) -> Saved {
        Saved(self.saved.clone())
    }

    #[wasm_bindgen(getter)]
    pub fn losses(&self) -> Vec<f32> {
        self.curves.losses.clone()
    }

    #[wasm_bindgen(getter)]
    pub fn accuracies(&self) -> Vec<f64> {
        self.curves.accuracies.clone()
    }
}

/// Adds AMSGrad's maxima, which are zero while amsgrad is off. The page has them from the start, so that amsgrad can be
/// switched on at any step. Files of runs without amsgrad have none...
fn add_maxima(adam: &mut StateDict) {
    if uses_amsgrad(adam) {
        return;
    }
    for entry in adam.state.values_mut() {
        let elements = entry.exp_avg_sq.len();
        entry.max_exp_avg_sq.get_or_insert_with(|| vec![0.0; elements]);
    }
}

/// ...and the page writes none for them.
fn drop_unused_maxima(adam: &mut StateDict) {
    if uses_amsgrad(adam) {
        return;
    }
    for entry in adam.state.values_mut() {
        let used = |maxima: &Vec<f32>| maxima.iter().any(|maximum| *maximum != 0.0);
        entry.max_exp_avg_sq = entry.max_exp_avg_sq.take().filter(used);
    }
}

fn uses_amsgrad(adam: &StateDict) -> bool {
    adam.param_groups.iter().any(|group| group.amsgrad == Some(true))
}
