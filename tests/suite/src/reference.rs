//! Adam in plain float64. It defines what the library computes.

use wgpu_adam::AdamConfig;

/// One parameter tensor with its optimizer state.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    pub param: Vec<f64>,
    /// The moments as torch stores them: without bias correction.
    pub exp_avg: Vec<f64>,
    pub exp_avg_sq: Vec<f64>,
    /// The largest `exp_avg_sq` so far, updated only by steps with amsgrad.
    pub max_exp_avg_sq: Vec<f64>,
    pub step: u64,
}

impl Reference {
    /// A parameter before its first step.
    pub fn new(param: &[f32]) -> Self {
        let zeros = vec![0.0; param.len()];
        let param = param.iter().copied().map(f64::from).collect();
        Self { param, exp_avg: zeros.clone(), exp_avg_sq: zeros.clone(), max_exp_avg_sq: zeros, step: 0 }
    }

    /// One `step()` of torch.optim.Adam or AdamW. For a missing gradient, do not call it.
    pub fn step(&mut self, grad: &[f32], config: &AdamConfig) {
        self.step_f64(&grad.iter().copied().map(f64::from).collect::<Vec<_>>(), config);
    }

    /// The same, with gradients that float32 may not be able to hold: unscaled, clipped.
    pub fn step_f64(&mut self, grad: &[f64], config: &AdamConfig) {
        assert_eq!(grad.len(), self.param.len(), "one gradient an element");
        let (beta1, beta2) = config.betas;
        self.step += 1;
        let t = self.step as f64;
        let step_size = config.lr / (1.0 - beta1.powf(t));
        let root_correction = (1.0 - beta2.powf(t)).sqrt();

        for (i, &grad) in grad.iter().enumerate() {
            let p = &mut self.param[i];
            let mut g = if config.maximize { -grad } else { grad };
            if config.weight_decay != 0.0 {
                if config.decoupled_weight_decay {
                    *p *= 1.0 - config.lr * config.weight_decay;
                } else {
                    g += config.weight_decay * *p;
                }
            }
            let m = &mut self.exp_avg[i];
            *m = average(*m, g, beta1);
            let v = &mut self.exp_avg_sq[i];
            *v = beta2 * *v + (1.0 - beta2) * g * g;
            let largest = &mut self.max_exp_avg_sq[i];
            let second = if config.amsgrad {
                *largest = maximum(*largest, *v);
                *largest
            } else {
                *v
            };
            // eps is added after the root and after the correction.
            let denominator = second.sqrt() / root_correction + config.eps;
            *p -= step_size * *m / denominator;
        }
    }
}

/// torch.lerp with a weight of 1 - beta. The branch keeps the end with the larger weight exact. Unlike torch, this does
/// not compute beta from the weight, which would lose a beta of 1e-30.
fn average(start: f64, end: f64, beta: f64) -> f64 {
    if beta > 0.5 { start + (1.0 - beta) * (end - start) } else { end - (end - start) * beta }
}

/// torch.maximum: unlike `f64::max` it keeps a NaN.
fn maximum(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}
