//! `NAME.json` of a golden case; the README beside the cases describes the format.

use std::{collections::BTreeMap, fmt};

use serde::Deserialize;
use wgpu_adam::{AdamConfig, NormType};

/// A case without its data.
#[derive(Debug, Deserialize)]
pub struct Manifest {
    pub name: String,
    pub tag: Tag,
    /// The file with the numbers, beside the manifest.
    pub tensors: String,
    pub params: Vec<ParamSpec>,
    pub rule: Option<Rule>,
    pub timeline: Vec<Op>,
}

/// The kind of numbers in a case, which decides the rules for judging results.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Tag {
    Finite,
    WideRange,
    Denormal,
    Nonfinite,
    GradScale,
    StepSaturation,
    Checkpoint,
}

#[derive(Debug, Deserialize)]
pub struct ParamSpec {
    pub id: String,
    pub shape: Vec<usize>,
    pub source: Source,
    /// The results hold only the flat indices in `index.ID`.
    pub sampled: bool,
}

impl ParamSpec {
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The source of a parameter's initial value and gradients.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Stored,
    Rule,
}

/// The constants of generated values; [`super::rule`] has the formula.
#[derive(Debug, Deserialize)]
pub struct Rule {
    /// Hexadecimal.
    pub seed: String,
    pub init_log2: i32,
    pub grad_log2: i32,
    pub grad_spread_mask: u64,
    pub first_values_f32_bits: BTreeMap<String, FirstValues>,
}

/// Bits of the first values of a parameter, hexadecimal.
#[derive(Debug, Deserialize)]
pub struct FirstValues {
    pub init: Vec<String>,
    pub grad_1: Vec<String>,
}

/// One operation on the optimizer.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Op {
    Construct {
        algorithm: Algorithm,
        defaults: Options,
        groups: Vec<GroupSpec>,
    },
    Step {
        n: u64,
        /// The parameters without a gradient.
        #[serde(default)]
        none: Vec<String>,
        grad_scale: Option<f64>,
        found_inf: Option<f64>,
        /// The bound of a `clip_grad_norm_` before the step.
        clip_norm: Option<f64>,
        norm_type: Option<Norm>,
        /// The value that `clip_grad_norm_` returned in float64.
        grad_norm: Option<f64>,
    },
    Set {
        group: usize,
        values: Options,
    },
    AddGroup {
        group: GroupSpec,
    },
    Reload {
        defaults: Options,
    },
    LoadState {
        steps: BTreeMap<String, u64>,
    },
    Checkpoint(Expected),
}

/// The norm that gradients are clipped by.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    Two,
    Infinity,
}

impl From<Norm> for NormType {
    fn from(norm: Norm) -> Self {
        match norm {
            Norm::Two => Self::Two,
            Norm::Infinity => Self::Infinity,
        }
    }
}

/// The torch class, which decides the defaults.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
pub enum Algorithm {
    Adam,
    AdamW,
}

impl Algorithm {
    pub fn defaults(self) -> AdamConfig {
        match self {
            Self::Adam => AdamConfig::default(),
            Self::AdamW => AdamConfig::adamw(),
        }
    }
}

/// The options in an operation.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Options {
    pub lr: Option<f64>,
    pub betas: Option<(f64, f64)>,
    pub eps: Option<f64>,
    pub weight_decay: Option<f64>,
    pub amsgrad: Option<bool>,
    pub maximize: Option<bool>,
    pub decoupled_weight_decay: Option<bool>,
}

impl Options {
    /// These options, with those of `base` for missing ones.
    pub fn over(&self, base: &AdamConfig) -> AdamConfig {
        AdamConfig {
            lr: self.lr.unwrap_or(base.lr),
            betas: self.betas.unwrap_or(base.betas),
            eps: self.eps.unwrap_or(base.eps),
            weight_decay: self.weight_decay.unwrap_or(base.weight_decay),
            amsgrad: self.amsgrad.unwrap_or(base.amsgrad),
            maximize: self.maximize.unwrap_or(base.maximize),
            decoupled_weight_decay: self.decoupled_weight_decay.unwrap_or(base.decoupled_weight_decay),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
pub struct GroupSpec {
    pub params: Vec<String>,
    #[serde(flatten)]
    pub options: Options,
}

/// torch's values at a checkpoint, apart from the numbers in the tensors file.
#[derive(Debug, Deserialize)]
pub struct Expected {
    pub name: String,
    /// None if there is no state yet.
    pub steps: BTreeMap<String, Option<u64>>,
    pub param_groups: Vec<PackedGroup>,
    /// By parameter and key; None if no element is finite.
    torch_f32_error: BTreeMap<String, BTreeMap<Key, Option<TorchError>>>,
}

impl Expected {
    /// The error of torch's float32 run; none if no element is finite.
    pub fn torch_error(&self, id: &str, key: Key) -> TorchError {
        let error = self.torch_f32_error.get(id).and_then(|keys| keys.get(&key));
        error.copied().flatten().unwrap_or_default()
    }
}

/// A group as in a state dict.
#[derive(Debug, Deserialize)]
pub struct PackedGroup {
    /// Parameters numbered in group order.
    pub params: Vec<usize>,
    #[serde(flatten)]
    pub options: Options,
}

/// The distance of torch's float32 run from the float64 reference, over all finite elements of the tensor.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct TorchError {
    pub norm_rel: f64,
    pub max_abs: f64,
}

/// The tensors that are compared.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[serde(rename_all = "snake_case")]
pub enum Key {
    Param,
    ExpAvg,
    ExpAvgSq,
    MaxExpAvgSq,
}

impl Key {
    pub const ALL: [Self; 4] = [Self::Param, Self::ExpAvg, Self::ExpAvgSq, Self::MaxExpAvgSq];
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Param => "param",
            Self::ExpAvg => "exp_avg",
            Self::ExpAvgSq => "exp_avg_sq",
            Self::MaxExpAvgSq => "max_exp_avg_sq",
        })
    }
}
