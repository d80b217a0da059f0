//! The same classifier in float64 on the CPU.

use digits::data::{CLASSES, Digit, PIXELS};
use digits::model::HIDDEN;
use digits::rules::uniform;

/// Parameters, or their gradients, in the order of `digits::model::PARAMETERS`.
pub struct Network {
    pub tensors: [Vec<f64>; 4],
}

impl Network {
    /// The initial weights of training.
    pub fn initial() -> Self {
        let widened = |values: Vec<f32>| values.into_iter().map(f64::from).collect();
        Self {
            tensors: [
                widened(uniform(0, HIDDEN * PIXELS, 1.0 / (PIXELS as f64).sqrt())),
                vec![0.0; HIDDEN],
                widened(uniform(2, CLASSES * HIDDEN, 1.0 / (HIDDEN as f64).sqrt())),
                vec![0.0; CLASSES],
            ],
        }
    }

    /// The mean cross-entropy over a batch and its gradients.
    pub fn loss_and_gradients(&self, batch: &[&Digit]) -> (f64, Self) {
        let mut gradients = Self { tensors: self.tensors.each_ref().map(|tensor| vec![0.0; tensor.len()]) };
        let losses = batch.iter().map(|digit| self.add_gradients(digit, batch.len() as f64, &mut gradients));
        let loss = losses.sum::<f64>() / batch.len() as f64;
        (loss, gradients)
    }

    fn add_gradients(&self, digit: &Digit, batch: f64, gradients: &mut Self) -> f64 {
        let pixels = digit.pixels.map(f64::from);
        let [fc1_weight, fc1_bias, fc2_weight, fc2_bias] = &self.tensors;
        let hidden = linear(fc1_weight, fc1_bias, &pixels).iter().map(|sum| sum.max(0.0)).collect::<Vec<_>>();
        let logits = linear(fc2_weight, fc2_bias, &hidden);
        let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
        let label = usize::from(digit.label);
        let logits_grad: Vec<f64> =
            (0..CLASSES).map(|i| (logits[i].exp() / sum - if i == label { 1.0 } else { 0.0 }) / batch).collect();
        let hidden_grad: Vec<f64> = (0..HIDDEN)
            .map(|unit| {
                let sum: f64 = (0..CLASSES).map(|i| logits_grad[i] * fc2_weight[i * HIDDEN + unit]).sum();
                if hidden[unit] > 0.0 { sum } else { 0.0 }
            })
            .collect();
        let [fc1_weight_grad, fc1_bias_grad, fc2_weight_grad, fc2_bias_grad] = &mut gradients.tensors;
        add_outer(fc1_weight_grad, fc1_bias_grad, &hidden_grad, &pixels);
        add_outer(fc2_weight_grad, fc2_bias_grad, &logits_grad, &hidden);
        sum.ln() - logits[label]
    }
}

fn linear(weight: &[f64], bias: &[f64], inputs: &[f64]) -> Vec<f64> {
    let dot = |row: &[f64]| row.iter().zip(inputs).map(|(w, x)| w * x).sum::<f64>();
    weight.chunks_exact(inputs.len()).zip(bias).map(|(row, bias)| dot(row) + bias).collect()
}

fn add_outer(weight_grad: &mut [f64], bias_grad: &mut [f64], output_grad: &[f64], inputs: &[f64]) {
    for (row, grad) in weight_grad.chunks_exact_mut(inputs.len()).zip(output_grad) {
        for (sum, input) in row.iter_mut().zip(inputs) {
            *sum += grad * input;
        }
    }
    for (sum, grad) in bias_grad.iter_mut().zip(output_grad) {
        *sum += grad;
    }
}
