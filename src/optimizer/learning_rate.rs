//! The learning rates of all groups at once.

use crate::error::Error;
use crate::optimizer::WgpuAdam;
use crate::options::adam::AdamConfig;
use crate::registry::group::Group;

/// torch's key for a group's base rate. Its schedulers keep it in the group, and so in state dicts.
const INITIAL_LR: &str = "initial_lr";

impl WgpuAdam {
    /// Sets the [`lr`](crate::AdamConfig::lr) of all groups, from the next recorded step on.
    ///
    /// # Errors
    /// A value out of range. All old values then stay in force.
    pub fn set_lr_all(&mut self, lr: f64) -> Result<(), Error> {
        self.check_lr(lr)?;
        (0..self.registry.groups.len()).try_for_each(|group| self.set_lr(group, lr))
    }

    /// Sets the [`lr`](crate::AdamConfig::lr) of each group to its base rate times `factor`, from the next recorded
    /// step on. For schedules over groups with different rates.
    ///
    /// The base rate is the rate that the group has at the first call. The group keeps it as `initial_lr`, as torch's
    /// schedulers do. State dicts and checkpoints contain it, so a resumed run continues from the same base.
    /// It stays the base: a rate that [`set_lr`](Self::set_lr) sets in between holds until the next call.
    ///
    /// ```no_run
    /// # fn demo(adam: &mut wgpu_adam::WgpuAdam) -> Result<(), wgpu_adam::Error> {
    /// for step in 0..1000 {
    ///     let warmup = f64::from(step + 1) / 100.0;
    ///     adam.scale_lr(warmup.min(1.0))?;
    ///     // backward pass and step
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// A rate out of range. All old values then stay in force.
    pub fn scale_lr(&mut self, factor: f64) -> Result<(), Error> {
        let base = |group: &Group| {
            let kept = group.extra.get(INITIAL_LR).and_then(|text| text.parse().ok());
            kept.unwrap_or(group.config().lr)
        };
        let bases: Vec<f64> = self.registry.groups.iter().map(base).collect();
        bases.iter().try_for_each(|base| self.check_lr(base * factor))?;
        for (number, base) in bases.into_iter().enumerate() {
            self.set_lr(number, base * factor)?;
            if let Some(group) = self.registry.groups.get_mut(number) {
                group.extra.entry(INITIAL_LR.into()).or_insert_with(|| format!("{base:?}"));
            }
        }
        Ok(())
    }

    /// Checks that all groups may have this rate.
    fn check_lr(&self, lr: f64) -> Result<(), Error> {
        AdamConfig { lr, ..self.defaults }.validate(None)
    }
}
