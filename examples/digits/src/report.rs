//! A report of a training run, read from the GPU in one piece.

use anyhow::{Context, Result};

use crate::data::{CLASSES, PIXELS};
use crate::model::HIDDEN;

/// What [`Trainer::read`](crate::Trainer::read) reads in addition to the losses.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The share of test digits that the model recognises, from a forward pass over the test set.
    pub accuracy: bool,
    /// The weights of the first layer.
    pub first_layer: bool,
    /// The class probabilities of this digit: 8 rows of 8 pixels, 0 for paper and 1 for ink.
    pub digit: Option<[f32; PIXELS]>,
}

/// The values that were read.
#[derive(Clone, Debug)]
pub struct Report {
    /// The losses of the steps since the last report, each from before its step's update.
    pub losses: Vec<f32>,
    /// The share of test digits recognised, if wanted.
    pub accuracy: Option<f64>,
    /// `fc1.weight`, one row of 64 per hidden unit, if wanted.
    pub first_layer: Option<Vec<f32>>,
    /// The probability of each class for the digit, if wanted.
    pub probabilities: Option<[f32; CLASSES]>,
}

impl Wanted {
    /// The number of floats that this adds to the losses.
    pub(crate) fn floats(&self, test_digits: usize) -> usize {
        let sizes = [
            (self.accuracy, test_digits * CLASSES),
            (self.first_layer, HIDDEN * PIXELS),
            (self.digit.is_some(), CLASSES),
        ];
        sizes.into_iter().filter(|(wanted, _)| *wanted).map(|(_, size)| size).sum()
    }

    /// Splits the floats into losses, logits of the test set, weights, and logits of the digit, as wanted.
    pub(crate) fn report(&self, floats: &[f32], losses: usize, test_labels: &[u8]) -> Result<Report> {
        let mut rest = floats;
        let mut take = |count: usize| {
            let (part, behind) = rest.split_at_checked(count).context("fewer floats were read than asked for")?;
            rest = behind;
            Ok::<_, anyhow::Error>(part)
        };
        let losses = take(losses)?.to_vec();
        let mut report = Report { losses, accuracy: None, first_layer: None, probabilities: None };
        if self.accuracy {
            report.accuracy = Some(accuracy(take(test_labels.len() * CLASSES)?, test_labels));
        }
        if self.first_layer {
            report.first_layer = Some(take(HIDDEN * PIXELS)?.to_vec());
        }
        if self.digit.is_some() {
            report.probabilities = Some(softmax(take(CLASSES)?));
        }
        Ok(report)
    }
}

fn accuracy(logits: &[f32], labels: &[u8]) -> f64 {
    let rows = logits.chunks_exact(CLASSES).zip(labels);
    let correct = rows.filter(|(row, label)| argmax(row) == usize::from(**label)).count();
    correct as f64 / labels.len() as f64
}

/// The first index of the largest value, as torch's argmax for finite values.
fn argmax(values: &[f32]) -> usize {
    let mut best = 0;
    for (i, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = i;
        }
    }
    best
}

fn softmax(logits: &[f32]) -> [f32; CLASSES] {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut probabilities = [0.0; CLASSES];
    for (probability, logit) in probabilities.iter_mut().zip(logits) {
        *probability = (logit - largest).exp();
    }
    let sum: f32 = probabilities.iter().sum();
    probabilities.map(|probability| probability / sum)
}
