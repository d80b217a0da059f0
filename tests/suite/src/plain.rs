//! Golden cases on the CPU: by the float64 reference, and by one that flushes denormals.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use wgpu_adam::{AdamConfig, NormType};

use crate::{
    golden::{Case, GroupSpec, Key, Op},
    reference::Reference,
};

/// One parameter with its state.
pub trait Plain: Clone {
    fn new(param: &[f32]) -> Self;
    fn step(&mut self, grad: &[f64], config: &AdamConfig);
    /// Loads a step count and moments.
    fn load(&mut self, step: u64, moments: &[(Key, Vec<f32>)]);
    fn step_count(&self) -> u64;
    /// All values of one tensor.
    fn tensor(&self, key: Key) -> Vec<f64>;
}

/// The parameters at each checkpoint of a case, by name.
pub fn run<T: Plain>(case: &Case) -> Result<Vec<BTreeMap<String, T>>> {
    let mut defaults = AdamConfig::default();
    let mut groups: Vec<(AdamConfig, &[String])> = Vec::new();
    let mut params: BTreeMap<String, T> = BTreeMap::new();
    let mut checkpoints = Vec::new();
    for op in case.timeline() {
        let added: &[GroupSpec] = match op {
            Op::Construct { algorithm, defaults: options, groups } => {
                defaults = options.over(&algorithm.defaults());
                groups
            }
            Op::AddGroup { group } => std::slice::from_ref(group),
            _ => &[],
        };
        for group in added {
            for id in &group.params {
                params.insert(id.clone(), T::new(&case.initial(id)?));
            }
            groups.push((group.options.over(&defaults), &group.params));
        }
        match op {
            Op::Construct { .. } | Op::AddGroup { .. } => {}
            Op::Set { group, values } => groups[*group].0 = values.over(&groups[*group].0),
            Op::Step { found_inf: Some(found), .. } if *found != 0.0 => {}
            Op::Step { n, none, grad_scale, clip_norm, norm_type, .. } => {
                let mut stepping = Vec::new();
                for (config, ids) in &groups {
                    for id in ids.iter().filter(|id| !none.contains(id)) {
                        let grad: Vec<f64> = case.gradient(*n, id)?.into_iter().map(f64::from).collect();
                        stepping.push((id, config, grad));
                    }
                }
                let mut factor = 1.0 / grad_scale.unwrap_or(1.0);
                if let Some(bound) = clip_norm {
                    let grads = stepping.iter().flat_map(|(_, _, grad)| grad).map(|grad| grad * factor);
                    factor *= clip_factor(norm(grads, norm_type.map_or(NormType::Two, NormType::from)), *bound);
                }
                for (id, config, grad) in stepping {
                    let grad: Vec<f64> = grad.into_iter().map(|grad| grad * factor).collect();
                    params.get_mut(id).context("unknown parameter")?.step(&grad, config);
                }
            }
            Op::Checkpoint(_) => checkpoints.push(params.clone()),
            // The state stays; the new defaults only apply to groups added later.
            Op::Reload { defaults: options } => defaults = options.over(&defaults),
            Op::LoadState { steps } => {
                for (id, &step) in steps {
                    let mut moments = Vec::new();
                    for key in [Key::ExpAvg, Key::ExpAvgSq, Key::MaxExpAvgSq] {
                        moments.extend(case.loaded(id, key)?.map(|values| (key, values)));
                    }
                    params.get_mut(id).context("unknown parameter")?.load(step, &moments);
                }
            }
        }
    }
    Ok(checkpoints)
}

impl Plain for Reference {
    fn new(param: &[f32]) -> Self {
        Self::new(param)
    }

    fn step(&mut self, grad: &[f64], config: &AdamConfig) {
        self.step_f64(grad, config);
    }

    fn load(&mut self, step: u64, moments: &[(Key, Vec<f32>)]) {
        self.step = step;
        for (key, values) in moments {
            let values = values.iter().copied().map(f64::from).collect();
            match key {
                Key::ExpAvg => self.exp_avg = values,
                Key::ExpAvgSq => self.exp_avg_sq = values,
                Key::MaxExpAvgSq => self.max_exp_avg_sq = values,
                Key::Param => self.param = values,
            }
        }
    }

    fn step_count(&self) -> u64 {
        self.step
    }

    fn tensor(&self, key: Key) -> Vec<f64> {
        let tensor = match key {
            Key::Param => &self.param,
            Key::ExpAvg => &self.exp_avg,
            Key::ExpAvgSq => &self.exp_avg_sq,
            Key::MaxExpAvgSq => &self.max_exp_avg_sq,
        };
        tensor.clone()
    }
}

/// Float64 for hardware that flushes denormals. Parameters and gradients when they are read, and second moments when
/// they are stored, become zero if they would be denormal in float32. Nothing else is rounded.
#[derive(Clone, Debug)]
pub struct Flushed(Reference);

impl Plain for Flushed {
    fn new(param: &[f32]) -> Self {
        Self(Reference::new(param))
    }

    fn step(&mut self, grad: &[f64], config: &AdamConfig) {
        let Reference { param, exp_avg, exp_avg_sq, max_exp_avg_sq, step } = &mut self.0;
        *step += 1;
        let (beta1, beta2) = config.betas;
        let step_size = config.lr / (1.0 - beta1.powf(*step as f64));
        let root_correction = (1.0 - beta2.powf(*step as f64)).sqrt();
        for (i, &grad) in grad.iter().enumerate() {
            let mut p = flush(param[i]);
            let mut g = flush(if config.maximize { -grad } else { grad });
            if config.decoupled_weight_decay {
                p *= 1.0 - config.lr * config.weight_decay;
            } else {
                g += config.weight_decay * p;
            }
            exp_avg[i] = beta1 * exp_avg[i] + (1.0 - beta1) * g;
            exp_avg_sq[i] = flush(beta2 * exp_avg_sq[i] + (1.0 - beta2) * g * g);
            let mut second = exp_avg_sq[i];
            if config.amsgrad {
                second = second.max(max_exp_avg_sq[i]);
                max_exp_avg_sq[i] = second;
            }
            param[i] = p - step_size * exp_avg[i] / (second.sqrt() / root_correction + config.eps);
        }
    }

    fn load(&mut self, step: u64, moments: &[(Key, Vec<f32>)]) {
        Plain::load(&mut self.0, step, moments);
    }

    fn step_count(&self) -> u64 {
        self.0.step
    }

    fn tensor(&self, key: Key) -> Vec<f64> {
        self.0.tensor(key)
    }
}

/// The norm of gradients; float64 holds the squares of all float32 and their sum.
pub fn norm(grads: impl Iterator<Item = f64>, norm_type: NormType) -> f64 {
    match norm_type {
        NormType::Two => grads.map(|grad| grad * grad).sum::<f64>().sqrt(),
        NormType::Infinity => grads.fold(0.0, |largest, grad| largest.max(grad.abs())),
        other => panic!("{other:?} is not computed here"),
    }
}

/// The factor by which torch multiplies gradients of this norm.
pub fn clip_factor(norm: f64, bound: f64) -> f64 {
    (bound / (norm + 1e-6)).min(1.0)
}

/// Replaces values that are denormal in float32 by zero.
fn flush(x: f64) -> f64 {
    if x.abs() < f64::from(f32::MIN_POSITIVE) { 0.0 } else { x }
}
