//! Golden cases done on the CPU: by the float64 reference, and by float32 hardware that flushes denormals.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use wgpu_adam::AdamConfig;

use crate::{
    golden::{Case, GroupSpec, Key, Op},
    reference::Reference,
};

/// One parameter with its state.
pub trait Plain: Clone {
    fn new(param: &[f32]) -> Self;
    fn step(&mut self, grad: &[f32], config: &AdamConfig);
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
            Op::Step { n, none, grad_scale: None, .. } => {
                for (config, ids) in &groups {
                    for id in ids.iter().filter(|id| !none.contains(id)) {
                        params.get_mut(id).context("unknown parameter")?.step(&case.gradient(*n, id)?, config);
                    }
                }
            }
            Op::Checkpoint(_) => checkpoints.push(params.clone()),
            Op::Step { .. } | Op::Reload { .. } | Op::LoadState { .. } => bail!("{op:?} is not done on the CPU"),
        }
    }
    Ok(checkpoints)
}

impl Plain for Reference {
    fn new(param: &[f32]) -> Self {
        Self::new(param)
    }

    fn step(&mut self, grad: &[f32], config: &AdamConfig) {
        self.step(grad, config);
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

/// Float32 in torch's order of operations, with every denormal operand and result replaced by zero, as WGSL allows.
#[derive(Clone, Debug)]
pub struct Flushed {
    elements: Vec<Element>,
    step: u64,
}

#[derive(Clone, Copy, Debug)]
struct Element {
    param: f32,
    exp_avg: f32,
    exp_avg_sq: f32,
    max_exp_avg_sq: f32,
}

impl Plain for Flushed {
    fn new(param: &[f32]) -> Self {
        let element = |&param: &f32| Element { param, exp_avg: 0.0, exp_avg_sq: 0.0, max_exp_avg_sq: 0.0 };
        Self { elements: param.iter().map(element).collect(), step: 0 }
    }

    fn step(&mut self, grad: &[f32], config: &AdamConfig) {
        self.step += 1;
        let t = self.step as f64;
        let (beta1, beta2) = config.betas;
        let (weight1, weight2) = ((1.0 - beta1) as f32, (1.0 - beta2) as f32);
        let step_size = (config.lr / (1.0 - beta1.powf(t))) as f32;
        let root_correction = (1.0 - beta2.powf(t)).sqrt() as f32;
        for (element, &grad) in self.elements.iter_mut().zip(grad) {
            let mut p = flush(element.param);
            let mut g = flush(if config.maximize { -grad } else { grad });
            if config.weight_decay != 0.0 && config.decoupled_weight_decay {
                p = flush(p * (1.0 - config.lr * config.weight_decay) as f32);
            } else if config.weight_decay != 0.0 {
                g = flush(g + flush(p * config.weight_decay as f32));
            }
            let difference = flush(g - element.exp_avg);
            element.exp_avg = if weight1 < 0.5 {
                flush(element.exp_avg + flush(weight1 * difference))
            } else {
                flush(g - flush(difference * (1.0 - weight1)))
            };
            let square = flush(flush(weight2 * g) * g);
            element.exp_avg_sq = flush(flush(element.exp_avg_sq * beta2 as f32) + square);
            let mut second = element.exp_avg_sq;
            if config.amsgrad {
                second = second.max(element.max_exp_avg_sq);
                element.max_exp_avg_sq = second;
            }
            let denominator = flush(flush(second.sqrt() / root_correction) + config.eps as f32);
            element.param = flush(p - flush(flush(step_size * element.exp_avg) / denominator));
        }
    }

    fn step_count(&self) -> u64 {
        self.step
    }

    fn tensor(&self, key: Key) -> Vec<f64> {
        let value = |element: &Element| match key {
            Key::Param => element.param,
            Key::ExpAvg => element.exp_avg,
            Key::ExpAvgSq => element.exp_avg_sq,
            Key::MaxExpAvgSq => element.max_exp_avg_sq,
        };
        self.elements.iter().map(value).map(f64::from).collect()
    }
}

/// Zero, of the same sign, in place of a denormal.
fn flush(x: f32) -> f32 {
    if x.is_subnormal() { 0.0_f32.copysign(x) } else { x }
}
