//! The recorded run of torch.optim.Adam, for comparison.

use anyhow::{Context, Result};
use serde::Deserialize;

const JSON: &str = include_str!("../data/digits_torch_run.json");

/// The run that `data/digits_torch_run.py` recorded.
#[derive(Clone, Debug, Deserialize)]
pub struct TorchRun {
    /// The version of torch.
    pub torch: String,
    /// Digits per step; the last batch of an epoch is smaller.
    pub batch: usize,
    /// How many times the training set was visited.
    pub epochs: usize,
    /// Adam's learning rate.
    pub lr: f64,
    /// The positions that epoch 0 visits first.
    pub first_positions_of_epoch_0: Vec<u32>,
    /// The first initial values of `fc1.weight`.
    pub initial_w1_first_4: Vec<f32>,
    /// The loss of every step, before its update.
    pub loss_per_step: Vec<f32>,
    /// The share of test digits recognised after each epoch.
    pub test_accuracy_per_epoch: Vec<f64>,
}

impl TorchRun {
    /// The recorded run in the program.
    pub fn recorded() -> Result<Self> {
        serde_json::from_str(JSON).context("the embedded digits_torch_run.json")
    }
}
