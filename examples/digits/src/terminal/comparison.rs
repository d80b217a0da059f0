//! Compares this run with torch's recorded one.

use digits::TorchRun;

use super::record::Run;

/// The largest difference of a loss from torch's that another order of rounding explains, with a wide margin.
pub const LOSS_BOUND: f64 = 1e-5;

/// The distance of a run from torch's, over the steps that both took, at the same learning rate.
pub struct Comparison {
    /// |loss - torch's| of every step.
    pub differences: Vec<f64>,
    /// The largest difference of a test accuracy, in digits.
    pub most_digits: usize,
}

impl Comparison {
    /// `None` if the run [stands alone](Run::stands_alone).
    pub fn new(run: &Run, torch: &TorchRun, test_len: usize) -> Option<Self> {
        if run.stands_alone(torch).is_some() {
            return None;
        }
        let losses = run.loss_per_step.iter().zip(&torch.loss_per_step);
        let differences = losses.map(|(ours, torch)| (f64::from(*ours) - f64::from(*torch)).abs()).collect();
        let accuracies = run.test_accuracy_per_epoch.iter().zip(&torch.test_accuracy_per_epoch);
        let digits = |(ours, torch): (&f64, &f64)| ((ours - torch).abs() * test_len as f64).round() as usize;
        Some(Self { differences, most_digits: accuracies.map(digits).max().unwrap_or(0) })
    }

    /// The largest difference of a loss; NaN if any difference is.
    pub fn worst(&self) -> f64 {
        self.differences.iter().copied().fold(0.0, |worst, d| if d > worst || d.is_nan() { d } else { worst })
    }

    /// Whether every loss is within [`LOSS_BOUND`] and every accuracy within one digit.
    pub fn passes(&self) -> bool {
        self.worst() <= LOSS_BOUND && self.most_digits <= 1
    }
}

#[cfg(test)]
mod tests {
    use super::Comparison;

    #[test]
    fn nan_is_the_worst_and_never_passes() {
        let comparison = Comparison { differences: vec![0.0, f64::NAN, 1e-9], most_digits: 0 };
        assert!(comparison.worst().is_nan());
        assert!(!comparison.passes());
    }
}
