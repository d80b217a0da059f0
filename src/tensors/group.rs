//! Parameter groups: sets of parameters with options of their own.

use crate::options::adam::AdamConfig;
use crate::options::entries::Entries;
use crate::tensors::tensor::Param;

/// Parameters, and the options in which they differ from the optimizer's defaults. For
/// [`WgpuAdam::new`](crate::WgpuAdam::new) and [`add_param_group`](crate::WgpuAdam::add_param_group).
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
    options: Entries,
}

impl ParamGroup {
    /// Makes a group with the optimizer's defaults. It may be empty.
    pub fn new(params: impl IntoIterator<Item = Param>) -> Self {
        Self { params: params.into_iter().collect(), options: Entries::default() }
    }

    /// Divides parameters into two groups by name: those that the predicate chooses, and the others. A parameter
    /// without a name is among the others.
    ///
    /// ```no_run
    /// # fn demo(arena: &wgpu_adam::TensorArena) {
    /// use wgpu_adam::ParamGroup;
    /// let is_plain = |name: &str| name.ends_with("bias") || name.contains("norm");
    /// let (plain, decayed) = ParamGroup::partition(arena.params(), is_plain);
    /// // `plain` is group 0.
    /// let groups = [plain, decayed.weight_decay(0.01)];
    /// # }
    /// ```
    #[must_use]
    pub fn partition(params: impl IntoIterator<Item = Param>, chosen: impl Fn(&str) -> bool) -> (Self, Self) {
        let (chosen, others): (Vec<_>, Vec<_>) =
            params.into_iter().partition(|param| param.name().is_some_and(&chosen));
        (Self::new(chosen), Self::new(others))
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

    /// Returns the group's own options, with the optimizer's defaults for the others.
    pub(crate) fn config(&self, defaults: &AdamConfig) -> AdamConfig {
        self.options.over(defaults)
    }
}

/// What an optimizer is made from: parameters, which form one group, or groups. Either may be empty, because parameters
/// can be added later. Made by `into()` from a list of [`Param`], such as [`TensorArena::params`](crate::TensorArena::params),
/// or from a [`ParamGroup`] or a list of them.
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
