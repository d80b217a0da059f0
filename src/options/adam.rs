//! The hyperparameters: their meanings, defaults and ranges.

use crate::error::Error;

/// The options of torch.optim.Adam: an optimizer's defaults, and the options of each of its groups.
///
/// A step t of a parameter p with gradient g is, in torch's order, with m, v and u beginning at 0:
///
/// ```text
/// if maximize:                           g = -g
/// if decoupled_weight_decay:             p = p - lr weight_decay p
/// else:                                  g = g + weight_decay p
/// exp_avg                                m = beta1 m + (1 - beta1) g
/// exp_avg_sq                             v = beta2 v + (1 - beta2) g^2
/// max_exp_avg_sq, if amsgrad:            u = max(u, v)
/// else:                                  u = v
/// param                                  p = p - lr / (1 - beta1^t) * m / (sqrt(u) / sqrt(1 - beta2^t) + eps)
/// ```
///
/// This crate multiplies numerator and denominator of the last fraction by sqrt(1 - beta2^t); see
/// [`WgpuAdam`](crate::WgpuAdam).
///
/// Numbers are f64, as in torch. What depends on options and t alone is computed in f64 and rounded to f32 once. Ranges
/// are stricter than torch's: numbers must be finite, and must be in range after rounding to f32 as well.
///
/// ```
/// let config = wgpu_adam::AdamConfig { lr: 3e-4, ..Default::default() };
/// assert_eq!(config.betas, (0.9, 0.999));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamConfig {
    /// Learning rate, at least 0. Default: 1e-3, torch's and Kingma and Ba's.
    pub lr: f64,
    /// Decay rates of the running averages of the gradient and of its square, each at least 0 and below 1. Defaults:
    /// 0.9 and 0.999, torch's and Kingma and Ba's.
    pub betas: (f64, f64),
    /// Added to the denominator after bias correction, at least 0. Default: 1e-8, torch's and Kingma and Ba's.
    pub eps: f64,
    /// Weight decay, at least 0. Default: 0 for Adam, 1e-2 for AdamW, as in torch.
    pub weight_decay: f64,
    /// Divides by the root of the largest `exp_avg_sq` so far instead of the latest (Reddi et al., 2018). The maximum
    /// is taken before the bias correction, as in torch's code. Costs 4 bytes of state for each element. Default:
    /// false, torch's.
    pub amsgrad: bool,
    /// Maximizes instead of minimizing. Default: false, torch's.
    pub maximize: bool,
    /// Subtracts `lr * weight_decay * param` from the parameter (AdamW; Loshchilov and Hutter, 2019) instead of adding
    /// `weight_decay * param` to the gradient. Default: false for Adam, true for AdamW, as in torch. torch multiplies
    /// the parameter by `1 - lr * weight_decay`, rounded to f32. That rounding makes its decay wrong: by 20 % if `lr *
    /// weight_decay` is 1e-7.
    pub decoupled_weight_decay: bool,
}

impl Default for AdamConfig {
    /// Returns torch.optim.Adam's defaults.
    fn default() -> Self {
        Self {
            lr: 1e-3,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.0,
            amsgrad: false,
            maximize: false,
            decoupled_weight_decay: false,
        }
    }
}

impl AdamConfig {
    /// Returns torch.optim.AdamW's defaults: those of Adam, with a decoupled weight decay of 1e-2.
    #[must_use]
    pub fn adamw() -> Self {
        Self { weight_decay: 1e-2, decoupled_weight_decay: true, ..Self::default() }
    }

    /// Returns the options as bits, which are equal for groups that step alike.
    pub(crate) fn bits(&self) -> [u64; 7] {
        let &Self { lr, betas, eps, weight_decay, amsgrad, maximize, decoupled_weight_decay } = self;
        let flags = u64::from(amsgrad) | u64::from(maximize) << 1;
        let numbers = [lr, betas.0, betas.1, eps, weight_decay].map(f64::to_bits);
        let [lr, beta1, beta2, eps, decay] = numbers;
        [lr, beta1, beta2, eps, decay, flags, decoupled_weight_decay.into()]
    }

    /// Checks that every number is in its range. All options pass this check, wherever they come from.
    pub(crate) fn validate(&self, group: Option<usize>) -> Result<(), Error> {
        const AT_LEAST_0: &str = "finite and at least 0, and so after rounding to f32";
        const BETA: &str = "at least 0 and below 1, and so after rounding to f32";
        let check = |option, value: f64, within: bool, requirement| {
            if within { Ok(()) } else { Err(Error::InvalidOption { option, group, value, requirement }) }
        };
        let at_least_0 = |value: f64| value >= 0.0 && (value as f32).is_finite();
        let is_beta = |value: f64| value >= 0.0 && (value as f32) < 1.0;
        check("lr", self.lr, at_least_0(self.lr), AT_LEAST_0)?;
        check("eps", self.eps, at_least_0(self.eps), AT_LEAST_0)?;
        check("beta1", self.betas.0, is_beta(self.betas.0), BETA)?;
        check("beta2", self.betas.1, is_beta(self.betas.1), BETA)?;
        check("weight_decay", self.weight_decay, at_least_0(self.weight_decay), AT_LEAST_0)
    }
}

#[cfg(test)]
mod tests {
    use super::AdamConfig;
    use crate::error::Error;

    type Change = fn(&mut AdamConfig);

    #[test]
    fn ranges() {
        let accepted: [(&str, Change); 6] = [
            ("lr 0", |c| c.lr = 0.0),
            ("eps 0", |c| c.eps = 0.0),
            ("eps that rounds to 0", |c| c.eps = 1e-60),
            ("betas 0", |c| c.betas = (0.0, 0.0)),
            ("beta2 just below 1", |c| c.betas.1 = 1.0 - 1e-7),
            ("the largest lr", |c| c.lr = f64::from(f32::MAX)),
        ];
        for (case, change) in accepted {
            let mut config = AdamConfig::adamw();
            change(&mut config);
            assert_eq!(config.validate(None), Ok(()), "{case}");
        }
        let refused: [(&str, &str, Change); 14] = [
            ("negative lr", "lr", |c| c.lr = -1e-3),
            ("NaN lr", "lr", |c| c.lr = f64::NAN),
            ("infinite lr", "lr", |c| c.lr = f64::INFINITY),
            ("lr beyond f32", "lr", |c| c.lr = 1e39),
            ("negative eps", "eps", |c| c.eps = -1e-8),
            ("NaN eps", "eps", |c| c.eps = f64::NAN),
            ("infinite eps", "eps", |c| c.eps = f64::INFINITY),
            ("beta1 of 1", "beta1", |c| c.betas.0 = 1.0),
            ("beta1 below 0", "beta1", |c| c.betas.0 = -1e-9),
            ("NaN beta1", "beta1", |c| c.betas.0 = f64::NAN),
            ("beta2 that rounds to 1", "beta2", |c| c.betas.1 = 1.0 - 1e-9),
            ("NaN beta2", "beta2", |c| c.betas.1 = f64::NAN),
            ("negative weight_decay", "weight_decay", |c| c.weight_decay = -1.0),
            ("NaN weight_decay", "weight_decay", |c| c.weight_decay = f64::NAN),
        ];
        for (case, wanted, change) in refused {
            let mut config = AdamConfig::default();
            change(&mut config);
            match config.validate(Some(2)) {
                Err(Error::InvalidOption { option, group: Some(2), .. }) if option == wanted => {}
                other => panic!("{case}: {other:?}"),
            }
        }
    }
}
