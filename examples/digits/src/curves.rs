//! The curves of a run, and their form in checkpoints.

use anyhow::{Context, Result, ensure};
use wgpu_adam::{Checkpoint, CheckpointContents, CheckpointTensor, Dtype};

const LOSSES: &str = "digits.loss_per_step";
const ACCURACIES: &str = "digits.test_accuracy_per_epoch";

/// A run's results so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curves {
    /// The loss of every step, from before its update.
    pub losses: Vec<f32>,
    /// The share of the test digits recognised after every epoch.
    pub accuracies: Vec<f64>,
}

impl Curves {
    /// The content of a checkpoint beside Adam's state: the model's parameters and the curves.
    pub fn contents(&self) -> Result<CheckpointContents> {
        self.add_to(CheckpointContents::new())
    }

    pub(crate) fn add_to(&self, contents: CheckpointContents) -> Result<CheckpointContents> {
        let accuracies = self.accuracies.iter().flat_map(|accuracy| accuracy.to_le_bytes()).collect();
        Ok(contents
            .with_tensor(LOSSES, CheckpointTensor::f32([self.losses.len()], &self.losses)?)
            .with_tensor(ACCURACIES, CheckpointTensor::new(Dtype::F64, [self.accuracies.len()], accuracies)?))
    }

    /// The curves in a checkpoint.
    pub fn of(checkpoint: &Checkpoint) -> Result<Self> {
        let losses = checkpoint.tensor(LOSSES)?.to_f32().context("losses that are not f32")?;
        let accuracies = checkpoint.tensor(ACCURACIES)?;
        ensure!(accuracies.dtype() == Dtype::F64, "accuracies that are not f64");
        let words = accuracies.bytes().chunks_exact(8);
        let accuracies = words.map(|word| f64::from_le_bytes(std::array::from_fn(|i| word[i]))).collect();
        Ok(Self { losses, accuracies })
    }

    /// The number of training steps so far, including skipped ones: each has a loss.
    pub fn steps(&self) -> u64 {
        self.losses.len() as u64
    }
}
