//! The numbers of one step: bias corrections and everything else that depends only on the options and the step count.

use crate::layout::{Hyper, hyper_flags};
use crate::options::adam::AdamConfig;

impl Hyper {
    /// The hyper block of step `t`, counted from 1. Each number is computed in f64 and rounded to f32 once.
    pub(crate) fn for_step(config: &AdamConfig, t: u64) -> Self {
        let &AdamConfig { lr, betas: (beta1, beta2), eps, weight_decay, .. } = config;
        let bias_correction1 = 1.0 - beta1.powf(t as f64);
        let bias_correction2_sqrt = (1.0 - beta2.powf(t as f64)).sqrt();
        // With `maximize` the gradient's two factors carry the sign, which costs nothing in the shader.
        let sign = if config.maximize { -1.0 } else { 1.0 };
        let (exp_avg, flag1) = smaller_weight(beta1, hyper_flags::EXP_AVG_BETA);
        let (exp_avg_sq, flag2) = smaller_weight(beta2, hyper_flags::EXP_AVG_SQ_BETA);
        Self {
            exp_avg_weight: (sign * exp_avg) as f32,
            exp_avg_sq_weight: exp_avg_sq as f32,
            step_size: (lr * bias_correction2_sqrt / bias_correction1) as f32,
            denom_eps: denom_eps(eps, bias_correction2_sqrt),
            weight_decay: if config.decoupled_weight_decay { lr * weight_decay } else { sign * weight_decay } as f32,
            grad_scale: 1.0,
            clip_value: f32::INFINITY,
            flags: flag1 | flag2,
        }
    }
}

/// Returns the smaller of an average's two weights, beta and 1 - beta, and the flag if that is beta. f32 holds the
/// smaller weight with a relative error of at most 2^-24. If it were computed as 1 minus the larger one, 2^-24 would be
/// the absolute error. Never returns -0.0, whose sign would maximize.
fn smaller_weight(beta: f64, flag_of_beta: u32) -> (f64, u32) {
    if beta > 0.5 { (1.0 - beta, 0) } else { (beta.abs(), flag_of_beta) }
}

/// Returns eps sqrt(1 - beta2^t). If eps is positive, so is the result, and it is no denormal: a parameter at rest must
/// not become 0/0 because eps was rounded or flushed to zero.
fn denom_eps(eps: f64, bias_correction2_sqrt: f64) -> f32 {
    let scaled = (eps * bias_correction2_sqrt) as f32;
    if eps > 0.0 { scaled.max(f32::MIN_POSITIVE) } else { scaled }
}

#[cfg(test)]
mod tests {
    use super::AdamConfig;
    use crate::layout::Hyper;

    /// Each number is within half a ULP of the exact result. That is known from series and by hand, not from `powf`.
    #[test]
    fn bias_corrections_are_those_of_f64() {
        // beta2 = 1 - 2^-10 at t = 2: 1 - beta2^2 = 2^-9 - 2^-20 exactly; beta1 = 1/2: 1 - 2^-2 = 3/4.
        let config = AdamConfig { lr: 0.25, betas: (0.5, 1.0 - 1.0 / 1024.0), eps: 0.5, ..AdamConfig::default() };
        let hyper = Hyper::for_step(&config, 2);
        let root = (1.0_f64 / 512.0 - 1.0 / 1_048_576.0).sqrt();
        assert_eq!(hyper.step_size, (0.25 * root / 0.75) as f32);
        assert_eq!(hyper.denom_eps, (0.5 * root) as f32);
        assert_eq!((hyper.exp_avg_weight, hyper.exp_avg_sq_weight, hyper.flags), (0.5, 1.0 / 1024.0, 2));
        // After very many steps nothing is left to correct.
        let late = Hyper::for_step(&AdamConfig { lr: 0.25, ..AdamConfig::default() }, 1 << 40);
        assert_eq!((late.step_size, late.denom_eps), (0.25, 1e-8));
    }

    #[test]
    fn eps_is_zero_only_where_it_is_given_so() {
        let at = |eps| Hyper::for_step(&AdamConfig { eps, ..AdamConfig::default() }, 1).denom_eps;
        assert_eq!(at(0.0), 0.0);
        assert_eq!(at(1e-300), f32::MIN_POSITIVE);
        assert_eq!(at(1e-8), (1e-8 * 0.001_f64.sqrt()) as f32);
    }

    #[test]
    fn decay_and_direction() {
        let l2 = AdamConfig { lr: 0.5, weight_decay: 0.25, ..AdamConfig::default() };
        let decoupled = AdamConfig { decoupled_weight_decay: true, maximize: true, ..l2 };
        let maximize = AdamConfig { maximize: true, ..l2 };
        let numbers = |config| {
            let hyper = Hyper::for_step(config, 1);
            (hyper.weight_decay, hyper.exp_avg_weight.signum())
        };
        assert_eq!([&l2, &maximize, &decoupled].map(numbers), [(0.25, 1.0), (-0.25, -1.0), (0.125, -1.0)]);
    }

    /// If these were computed as 1 minus a factor near 1, the first would be 20 % too large and the second 99 times too
    /// small.
    #[test]
    fn small_decays_keep_their_digits() {
        for (lr, weight_decay) in [(1e-5, 0.01), (1e-6, 6.1e-4), (1e-3, 0.01), (1e-20, 1e-10)] {
            let config = AdamConfig { lr, weight_decay, ..AdamConfig::adamw() };
            assert_eq!(Hyper::for_step(&config, 7).weight_decay, (lr * weight_decay) as f32, "{lr} {weight_decay}");
        }
    }

    /// The block holds the smaller of beta and 1 - beta, with its sign and a flag.
    #[test]
    fn small_betas_keep_their_digits() {
        let cases = [
            (0.0, 0.0, true),
            (-0.0, 0.0, true),
            (1e-30, 1e-30, true),
            (1e-4, 1e-4, true),
            (0.49, 0.49, true),
            (0.5, 0.5, true),
            (0.75, 0.25, false),
            (0.999, 1.0 - 0.999, false),
            (1.0 - 1e-9, 1.0 - (1.0 - 1e-9), false),
        ];
        for (beta, smaller, is_beta) in cases {
            let config = AdamConfig { betas: (beta, beta), ..AdamConfig::default() };
            let up = Hyper::for_step(&AdamConfig { maximize: true, ..config }, 3);
            let down = Hyper::for_step(&config, 3);
            let want = smaller as f32;
            // The sign matters even for zero.
            let bits = |hyper: Hyper| [hyper.exp_avg_weight, hyper.exp_avg_sq_weight].map(f32::to_bits);
            assert_eq!(bits(down), [want, want].map(f32::to_bits), "{beta}");
            assert_eq!(bits(up), [-want, want].map(f32::to_bits), "{beta}");
            assert_eq!((up.flags, down.flags), if is_beta { (6, 6) } else { (0, 0) }, "{beta}");
        }
    }
}
