//! An optimizer under gradient control beside the float64 reference, on tensors of every kind.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use wgpu_adam::{AdamConfig, GradientControl, ParamGroup, ParamId, StateDict, TensorArena, TensorBuffer, WgpuAdam};

use crate::{
    Gpu,
    readback::{Span, read_all},
    stats::ulp,
    twin::{TwinTensor, compare, same_bits, storage},
    values::values,
};

/// Options that a group sets.
pub type Options = fn(ParamGroup) -> ParamGroup;

pub struct Rig<'a> {
    pub gpu: &'a Gpu,
    pub adam: WgpuAdam,
    pub tensors: Vec<TwinTensor>,
    /// For each tensor, the largest gradient that entered a moment.
    largest: Vec<f64>,
    /// The sum of the learning rates of the steps taken.
    moved: f64,
}

/// Everything that a skipped step must not change: step counts, and the bits of all values.
pub struct Bits {
    steps: BTreeMap<String, u64>,
    values: Vec<(String, Vec<f32>)>,
}

impl Bits {
    /// A parameter's values.
    pub fn param(&self, name: &str) -> Result<Vec<f32>> {
        let found = self.values.iter().find(|(known, _)| known == name);
        Ok(found.with_context(|| format!("no {name}"))?.1.clone())
    }

    pub fn same(&self, case: &str, want: &Self) -> Result<()> {
        ensure!(self.steps == want.steps, "{case}: steps {:?} instead of {:?}", self.steps, want.steps);
        ensure!(self.values.len() == want.values.len(), "{case}: {} tensors", self.values.len());
        for ((name, got), (also, want)) in self.values.iter().zip(&want.values) {
            ensure!(name == also, "{case}: {name} against {also}");
            same_bits(&format!("{case}: {name}"), got, want)?;
        }
        Ok(())
    }
}

impl<'a> Rig<'a> {
    pub fn new(gpu: &'a Gpu, groups: Vec<(Vec<TwinTensor>, Options)>, control: GradientControl) -> Result<Self> {
        let config = AdamConfig { lr: 0.01, ..AdamConfig::default() };
        let made: Vec<ParamGroup> = groups
            .iter()
            .map(|(tensors, options)| options(ParamGroup::new(tensors.iter().map(TwinTensor::as_param))))
            .collect();
        let mut adam = WgpuAdam::new(&gpu.device, &gpu.queue, made, config)?;
        adam.set_gradient_control(control)?;
        ensure!(*adam.gradient_control() == control, "the stored control differs from the given one");
        let tensors: Vec<TwinTensor> = groups.into_iter().flat_map(|(tensors, _)| tensors).collect();
        let largest = vec![0.0; tensors.len()];
        Ok(Self { gpu, adam, tensors, largest, moved: 0.0 })
    }

    /// Tensors in separate buffers, in one group.
    pub fn alone(gpu: &'a Gpu, lengths: &[u64], control: GradientControl) -> Result<Self> {
        let tensor = |(number, &length): (usize, &u64)| TwinTensor::alone(gpu, &format!("t{number}"), length);
        Self::new(gpu, vec![(lengths.iter().enumerate().map(tensor).collect(), |group| group)], control)
    }

    /// Tensors of one arena, in one group.
    pub fn in_arena(gpu: &'a Gpu, lengths: &[u64], control: GradientControl) -> Result<Self> {
        Self::new(gpu, vec![(arena(gpu, lengths)?, |group| group)], control)
    }

    /// Every kind of tensor: in an arena, alone, among other data, beside its gradient in one buffer, long enough for a
    /// separate dispatch, empty, and without a gradient; in groups with different variants of the code.
    pub fn mixed(gpu: &'a Gpu, control: GradientControl) -> Result<Self> {
        let mut plain = arena(gpu, &[1, 3, 64, 257, 1000])?;
        plain.push(TwinTensor::alone(gpu, "long", (1 << 18) + 5));
        plain.push(TwinTensor::alone(gpu, "empty", 0));
        let amsgrad = [1, 5, 300].map(|length| TwinTensor::alone(gpu, &format!("alone of {length}"), length));
        let (pool, other) = (storage(gpu, 4096), storage(gpu, 4096));
        let at = |buffer: &wgpu::Buffer, start: u64| TensorBuffer::from((buffer, start * 4));
        let mut frozen = TwinTensor::alone(gpu, "frozen", 10);
        frozen.grad_values = None;
        let decayed = vec![
            TwinTensor::new(gpu, "with its gradient", 17, at(&pool, 3), at(&pool, 101)),
            TwinTensor::new(gpu, "askew", 66, at(&pool, 301), at(&other, 7)),
            frozen,
        ];
        let groups: Vec<(Vec<TwinTensor>, Options)> = vec![
            (plain, |group| group),
            (amsgrad.into(), |group| group.lr(0.02).amsgrad(true).weight_decay(0.1)),
            (decayed, |group| group.decoupled_weight_decay(true).weight_decay(0.05).betas((0.8, 0.99)).maximize(true)),
        ];
        let mut rig = Self::new(gpu, groups, control)?;
        let frozen = rig.id("frozen")?;
        rig.adam.set_grad_to_none(frozen)?;
        Ok(rig)
    }

    pub fn id(&self, name: &str) -> Result<ParamId> {
        self.adam.find(name).with_context(|| format!("no parameter {name}"))
    }

    pub fn index(&self, name: &str) -> Result<usize> {
        self.tensors.iter().position(|tensor| tensor.name == name).with_context(|| format!("no tensor {name}"))
    }

    /// Writes new gradients for all tensors that have one, `scale` times numbers from -1 to 1.
    pub fn write_grads(&mut self, round: u64, scale: f32) {
        for index in 0..self.tensors.len() {
            let stream = 5000 + 101 * round + index as u64;
            let grad = values(stream, self.tensors[index].length).into_iter().map(|x| x * scale).collect();
            self.write_grad(index, grad);
        }
    }

    /// Writes a new gradient, if the tensor has one.
    pub fn write_grad(&mut self, index: usize, grad: Vec<f32>) {
        let tensor = &mut self.tensors[index];
        if tensor.grad_values.is_some() {
            self.gpu.queue.write_buffer(tensor.grad.buffer(), tensor.grad.offset(), bytemuck::cast_slice(&grad));
            tensor.grad_values = Some(grad);
        }
    }

    /// Writes one element of a gradient to the GPU alone.
    pub fn poke_grad(&self, index: usize, element: u64, value: f32) {
        let grad = &self.tensors[index].grad;
        self.gpu.queue.write_buffer(grad.buffer(), grad.offset() + element * 4, bytemuck::bytes_of(&value));
    }

    /// All elements of all gradients.
    pub fn grads(&self) -> impl Iterator<Item = f64> {
        self.tensors.iter().filter_map(|tensor| tensor.grad_values.as_ref()).flatten().copied().map(f64::from)
    }

    /// Steps the reference with gradients to which `change` is applied.
    pub fn took(&mut self, change: impl Fn(f64) -> f64) -> Result<()> {
        let mut lr = 0.0_f64;
        for group in self.adam.param_groups() {
            let config = group.config();
            lr = lr.max(config.lr);
            for &id in group.params() {
                let name = self.adam.param(id)?.name.context("a tensor without a name")?;
                let index = self.tensors.iter().position(|tensor| tensor.name == name).context("an unknown name")?;
                let tensor = &mut self.tensors[index];
                let Some(grad) = &tensor.grad_values else { continue };
                let grad: Vec<f64> = grad.iter().map(|&grad| change(grad.into())).collect();
                let penalty = if config.decoupled_weight_decay { 0.0 } else { config.weight_decay };
                let sizes = grad.iter().zip(&tensor.reference.param).map(|(g, p)| g.abs() + penalty * p.abs());
                self.largest[index] = sizes.fold(self.largest[index], f64::max);
                tensor.reference.step_f64(&grad, config);
            }
        }
        self.moved += lr;
        Ok(())
    }

    /// Entries of a state dict by name.
    fn by_name(&self, dict: StateDict) -> Result<BTreeMap<String, wgpu_adam::TensorState>> {
        let ids = self.adam.param_groups().iter().flat_map(wgpu_adam::Group::params);
        let mut state = dict.state;
        let mut named = BTreeMap::new();
        for (number, &id) in (0..).zip(ids) {
            let name = self.adam.param(id)?.name.context("a tensor without a name")?;
            named.extend(state.remove(&number).map(|entry| (name.to_owned(), entry)));
        }
        ensure!(state.is_empty(), "entries of no parameter: {:?}", state.keys());
        Ok(named)
    }

    /// Compares parameters, moments, and the device's step counts with the reference.
    pub async fn check(&self, case: &str) -> Result<()> {
        let state = self.by_name(self.adam.state_dict().await?)?;
        let params = read_all(self.gpu, &self.spans(|tensor| &tensor.param)).await?;
        let epsilon = f64::from(f32::EPSILON);
        for ((tensor, largest), param) in self.tensors.iter().zip(&self.largest).zip(&params) {
            let TwinTensor { name, reference, initial, .. } = tensor;
            let case = format!("{case}: {name}");
            let step = state.get(name).map_or(0, |entry| entry.step);
            ensure!(step == reference.step, "{case}: step {step} instead of {}", reference.step);
            let steps = step.clamp(1, 1000) as f64;
            compare(&format!("{case} param"), param, &reference.param, |i, want| {
                let size = want.abs().max(f64::from(initial[i].abs()));
                steps * ulp(size) + 32.0 * self.moved * epsilon
            })?;
            let Some(entry) = state.get(name) else { continue };
            // Gradient control multiplies a gradient once more, by a factor with a few roundings.
            let bound = |size: f64| (4.0 * steps + 12.0) * epsilon * size;
            let lost = f64::from(f32::MIN_POSITIVE);
            let (first, second) = (bound(*largest), bound(largest * largest) + lost);
            compare(&format!("{case} exp_avg"), &entry.exp_avg, &reference.exp_avg, |_, _| first + lost)?;
            compare(&format!("{case} exp_avg_sq"), &entry.exp_avg_sq, &reference.exp_avg_sq, |_, _| second)?;
            if let Some(maximum) = &entry.max_exp_avg_sq {
                compare(&format!("{case} max_exp_avg_sq"), maximum, &reference.max_exp_avg_sq, |_, _| second)?;
            }
        }
        Ok(())
    }

    /// Parameters, moments, step counts.
    pub async fn bits(&self) -> Result<Bits> {
        let state = self.by_name(self.adam.state_dict().await?)?;
        let params = read_all(self.gpu, &self.spans(|tensor| &tensor.param)).await?;
        let mut values: Vec<(String, Vec<f32>)> =
            self.tensors.iter().map(|tensor| tensor.name.clone()).zip(params).collect();
        let steps = state.iter().map(|(name, entry)| (name.clone(), entry.step)).collect();
        for (name, entry) in state {
            values.push((format!("{name} exp_avg"), entry.exp_avg));
            values.push((format!("{name} exp_avg_sq"), entry.exp_avg_sq));
            values.extend(entry.max_exp_avg_sq.map(|maximum| (format!("{name} max_exp_avg_sq"), maximum)));
        }
        Ok(Bits { steps, values })
    }

    /// The content of the gradients' buffers.
    pub async fn read_grads(&self) -> Result<Vec<Vec<f32>>> {
        read_all(self.gpu, &self.spans(|tensor| &tensor.grad)).await
    }

    /// Checks that the gradients still have their written values.
    pub async fn grads_untouched(&self, case: &str) -> Result<()> {
        for (tensor, got) in self.tensors.iter().zip(self.read_grads().await?) {
            if let Some(want) = &tensor.grad_values {
                same_bits(&format!("{case}: gradient of {}", tensor.name), &got, want)?;
            }
        }
        Ok(())
    }

    fn spans(&self, of: impl Fn(&TwinTensor) -> &TensorBuffer) -> Vec<Vec<Span>> {
        let span = |tensor: &TwinTensor| {
            let at = of(tensor);
            vec![Span { buffer: at.buffer().clone(), offset: at.offset(), elements: tensor.length }]
        };
        self.tensors.iter().map(span).collect()
    }

    /// Removes a gradient on both sides, or restores it.
    pub fn set_grad(&mut self, name: &str, present: bool) -> Result<()> {
        let (id, index) = (self.id(name)?, self.index(name)?);
        let tensor = &mut self.tensors[index];
        tensor.grad_values = present.then(|| vec![0.0; tensor.length as usize]);
        if present {
            let grad = tensor.grad.clone();
            self.adam.set_grad(id, grad)?;
        } else {
            self.adam.set_grad_to_none(id)?;
        }
        Ok(())
    }

    /// Drops a tensor that the optimizer no longer has.
    pub fn forget(&mut self, index: usize) {
        self.tensors.remove(index);
        self.largest.remove(index);
    }

    /// Adds a group of one more tensor, with a learning rate of 0.03.
    pub fn add(&mut self, tensor: TwinTensor) -> Result<()> {
        self.adam.add_param_group(ParamGroup::new([tensor.as_param()]).lr(0.03))?;
        self.tensors.push(tensor);
        self.largest.push(0.0);
        Ok(())
    }
}

/// Tensors named by their numbers, side by side.
pub fn arena(gpu: &Gpu, lengths: &[u64]) -> Result<Vec<TwinTensor>> {
    let name = |number: usize| format!("a{number}");
    let shapes = lengths.iter().enumerate().map(|(number, &length)| (name(number), [length as usize]));
    let arena = TensorArena::new(&gpu.device, shapes)?;
    let tensor = |(number, &length): (usize, &u64)| {
        let name = name(number);
        let (param, grad) = (arena.param_buffer(&name)?, arena.grad_buffer(&name)?);
        Ok(TwinTensor::new(gpu, &name, length, param, grad))
    };
    lengths.iter().enumerate().map(tensor).collect()
}

/// The relative distance of `got` from `want`; 0 if both are zero.
pub fn relative(got: f32, want: f64) -> f64 {
    let off = (f64::from(got) - want).abs();
    if off == 0.0 { 0.0 } else { off / want.abs() }
}
