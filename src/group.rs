//! Parameter groups: sets of parameters with options of their own.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use crate::config::AdamConfig;
use crate::optimizer::ParamId;
use crate::tensor::Param;

/// Parameters and the options in which they differ from the optimizer's defaults, to be given to
/// [`WgpuAdam::new`](crate::WgpuAdam::new) or [`add_param_group`](crate::WgpuAdam::add_param_group).
///
/// ```no_run
/// # fn demo(weights: &wgpu::Buffer, gradients: &wgpu::Buffer) {
/// use wgpu_adam::{Param, ParamGroup};
/// let head = Param::new("head.weight", [10, 128], weights, (gradients, 4096));
/// let group = ParamGroup::new([head]).lr(1e-4).weight_decay(0.01);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ParamGroup {
    pub(crate) params: Vec<Param>,
    options: Options,
}

/// The options that a group sets itself.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    lr: Option<f64>,
    betas: Option<(f64, f64)>,
    eps: Option<f64>,
    weight_decay: Option<f64>,
    amsgrad: Option<bool>,
    maximize: Option<bool>,
    decoupled_weight_decay: Option<bool>,
}

impl ParamGroup {
    /// A group with the optimizer's defaults. It may be empty.
    pub fn new(params: impl IntoIterator<Item = Param>) -> Self {
        Self { params: params.into_iter().collect(), options: Options::default() }
    }

    /// Sets [`AdamConfig::lr`] for the group.
    #[must_use]
    pub fn lr(mut self, lr: f64) -> Self {
        self.options.lr = Some(lr);
        self
    }

    /// Sets [`AdamConfig::betas`] for the group.
    #[must_use]
    pub fn betas(mut self, betas: (f64, f64)) -> Self {
        self.options.betas = Some(betas);
        self
    }

    /// Sets [`AdamConfig::eps`] for the group.
    #[must_use]
    pub fn eps(mut self, eps: f64) -> Self {
        self.options.eps = Some(eps);
        self
    }

    /// Sets [`AdamConfig::weight_decay`] for the group.
    #[must_use]
    pub fn weight_decay(mut self, weight_decay: f64) -> Self {
        self.options.weight_decay = Some(weight_decay);
        self
    }

    /// Sets [`AdamConfig::amsgrad`] for the group.
    #[must_use]
    pub fn amsgrad(mut self, amsgrad: bool) -> Self {
        self.options.amsgrad = Some(amsgrad);
        self
    }

    /// Sets [`AdamConfig::maximize`] for the group.
    #[must_use]
    pub fn maximize(mut self, maximize: bool) -> Self {
        self.options.maximize = Some(maximize);
        self
    }

    /// Sets [`AdamConfig::decoupled_weight_decay`] for the group.
    #[must_use]
    pub fn decoupled_weight_decay(mut self, decoupled_weight_decay: bool) -> Self {
        self.options.decoupled_weight_decay = Some(decoupled_weight_decay);
        self
    }

    /// The group's own options over the optimizer's defaults.
    pub(crate) fn config(&self, defaults: &AdamConfig) -> AdamConfig {
        let own = self.options;
        AdamConfig {
            lr: own.lr.unwrap_or(defaults.lr),
            betas: own.betas.unwrap_or(defaults.betas),
            eps: own.eps.unwrap_or(defaults.eps),
            weight_decay: own.weight_decay.unwrap_or(defaults.weight_decay),
            amsgrad: own.amsgrad.unwrap_or(defaults.amsgrad),
            maximize: own.maximize.unwrap_or(defaults.maximize),
            decoupled_weight_decay: own.decoupled_weight_decay.unwrap_or(defaults.decoupled_weight_decay),
        }
    }
}

/// What an optimizer is made from: parameters, which make one group, or groups. Either may be empty: parameters can be
/// added later.
#[derive(Clone, Debug)]
pub struct ParamGroups(pub(crate) Vec<ParamGroup>);

impl From<Vec<Param>> for ParamGroups {
    fn from(params: Vec<Param>) -> Self {
        Self(vec![ParamGroup::new(params)])
    }
}

impl<const N: usize> From<[Param; N]> for ParamGroups {
    fn from(params: [Param; N]) -> Self {
        Vec::from(params).into()
    }
}

impl From<Vec<ParamGroup>> for ParamGroups {
    fn from(groups: Vec<ParamGroup>) -> Self {
        Self(groups)
    }
}

impl<const N: usize> From<[ParamGroup; N]> for ParamGroups {
    fn from(groups: [ParamGroup; N]) -> Self {
        Self(groups.into())
    }
}

impl From<ParamGroup> for ParamGroups {
    fn from(group: ParamGroup) -> Self {
        Self(vec![group])
    }
}

/// A parameter group of a running optimizer, as [`param_groups`](crate::WgpuAdam::param_groups) lends it.
#[derive(Clone, Debug)]
pub struct Group {
    pub(crate) config: AdamConfig,
    /// What a state dict said beyond the options, as JSON.
    pub(crate) extra: BTreeMap<String, String>,
    optimizer: u32,
    /// The parameters' numbers in rising order, some marked as removed: a removal then costs no more in a large group.
    members: Vec<u32>,
    removed: usize,
    /// Made from `members` when it is asked for.
    params: OnceLock<Vec<ParamId>>,
}

/// Marks a member that was removed.
const REMOVED: u32 = 1 << 31;

impl Group {
    pub(crate) fn new(config: AdamConfig, optimizer: u32) -> Self {
        let (extra, members, params) = (BTreeMap::new(), Vec::new(), OnceLock::new());
        Self { config, extra, optimizer, members, removed: 0, params }
    }

    /// The options now in force.
    #[must_use]
    pub fn config(&self) -> &AdamConfig {
        &self.config
    }

    /// The parameters, in the order in which they were given.
    #[must_use]
    pub fn params(&self) -> &[ParamId] {
        self.params.get_or_init(|| {
            let members = self.members.iter().filter(|member| **member & REMOVED == 0);
            members.map(|&index| ParamId { optimizer: self.optimizer, index }).collect()
        })
    }

    /// The number of parameters.
    pub(crate) fn len(&self) -> usize {
        self.members.len() - self.removed
    }

    /// Adds a parameter, whose number is above all others.
    pub(crate) fn add(&mut self, number: u32) {
        self.members.push(number);
        self.params.take();
    }

    pub(crate) fn remove(&mut self, number: u32) {
        let Ok(at) = self.members.binary_search_by_key(&number, |member| member & !REMOVED) else { return };
        let Some(member) = self.members.get_mut(at).filter(|member| **member & REMOVED == 0) else { return };
        *member |= REMOVED;
        self.removed += 1;
        if self.removed * 2 > self.members.len() {
            self.members.retain(|member| member & REMOVED == 0);
            self.removed = 0;
        }
        self.params.take();
    }
}

impl PartialEq for Group {
    /// The same options and the same parameters.
    fn eq(&self, other: &Self) -> bool {
        (self.config, self.params(), &self.extra) == (other.config, other.params(), &other.extra)
    }
}
