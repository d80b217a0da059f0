//! Programs: lists of operations on an optimizer, run on the GPU and on a plain float64 model together.

use std::fmt;

use anyhow::{Context, Result, bail, ensure};
use wgpu_adam::{
    AdamConfig, Error, GradientControl, LoadOptions, Moments, ParamGroup, StateDict, StateDictError, StateMatching,
    TensorArena, TensorBuffer, ZeroGrad,
};

use crate::{
    Gpu,
    reference::Reference,
    twin::{Twin, TwinTensor, storage},
    values::values,
};

/// One line of a program. Numbers select an item modulo the number of items.
#[derive(Clone, Debug)]
pub enum Line {
    /// Adds a group of tensors of these lengths, in an arena or in separate buffers.
    AddGroup {
        lengths: Vec<u64>,
        arena: bool,
        amsgrad: bool,
        decoupled: bool,
    },
    /// Cuts a tensor of an arena into parts of these lengths, and adds every second part, or all, as a group.
    AddParts {
        lengths: Vec<u64>,
        all: bool,
    },
    /// Adds a tensor to a group.
    AddParam(usize, u64),
    /// New gradients and a step, this many times.
    Step(u32),
    /// Fills the gradients with zeros and makes a step.
    StepOnZeros,
    /// Starts or stops skipping steps with gradients that are not finite.
    Skipping(bool),
    /// Starts clipping by a norm that no gradient reaches, or stops clipping.
    Clipping(bool),
    /// Tries controls that are refused.
    RefusedControl,
    /// A step on new gradients, one of which has a NaN, if such steps are skipped; else nothing.
    Overflow(usize),
    DropGrad(usize),
    GiveGrad(usize),
    Set(usize, Change),
    Save,
    Load,
    /// Loads the saved state with a prefix before all names.
    LoadPrefixed,
    /// Loads the saved state partially, for the current parameters.
    LoadPartial,
    Defragment,
    RemoveGroup(usize),
    Replace {
        tensor: usize,
        length: u64,
        how: How,
    },
    Remove(usize),
    Reset(usize),
}

/// A change of a group's options.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    Lr(f64),
    Betas(f64, f64),
    Eps(f64),
    WeightDecay(f64),
    Amsgrad(bool),
    Maximize(bool),
    Decoupled(bool),
}

/// The fate of a replaced tensor's moments.
#[derive(Clone, Copy, Debug)]
pub enum How {
    Keep,
    Clear,
    From,
}

/// A program, printed as a script with one line for each of its lines.
#[derive(Clone)]
pub struct Program(pub Vec<Line>);

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        for (number, line) in (1..).zip(&self.0) {
            writeln!(f, "{number:3} {line:?}")?;
        }
        Ok(())
    }
}

/// Runs a program from an optimizer with one tensor of 10 elements. Compares at every save and at the end.
pub async fn run(gpu: &Gpu, program: &Program) -> Result<()> {
    let config = AdamConfig { lr: 0.01, ..Default::default() };
    let mut machine = Machine {
        twin: Twin::new(gpu, vec![TwinTensor::alone(gpu, "t0", 10)], config)?,
        amsgrad_from_the_start: vec![false],
        names: 1,
        saved: None,
    };
    for (number, line) in (1..).zip(&program.0) {
        machine.run(line).await.with_context(|| format!("line {number}: {line:?}"))?;
    }
    machine.twin.check("at the end").await?;
    gpu.check_errors()
}

struct Machine<'a> {
    twin: Twin<'a>,
    /// For each group, whether it had amsgrad from the start.
    amsgrad_from_the_start: Vec<bool>,
    names: usize,
    saved: Option<Saved>,
}

/// A group's options, and its parameters.
type GroupCopy = (AdamConfig, Vec<ParamCopy>);

#[derive(Clone, PartialEq)]
struct ParamCopy {
    name: String,
    reference: Reference,
    /// Whether a step was recorded for it, taken or skipped; then state dicts have an entry for it.
    stepped: bool,
}

struct Saved {
    dict: StateDict,
    groups: Vec<GroupCopy>,
}

impl Machine<'_> {
    async fn run(&mut self, line: &Line) -> Result<()> {
        match line {
            Line::AddGroup { lengths, arena, amsgrad, decoupled } => self.add(lengths, *arena, *amsgrad, *decoupled),
            Line::AddParts { lengths, all } => self.add_parts(lengths, *all),
            Line::Step(count) => (0..*count).try_for_each(|_| self.twin.step()),
            Line::StepOnZeros => self.step_on_zeros(),
            Line::Skipping(on) => {
                self.twin.counted_by_device |= on;
                let control = GradientControl { skip_nonfinite: *on, ..*self.twin.adam.gradient_control() };
                Ok(self.twin.adam.set_gradient_control(control)?)
            }
            Line::Clipping(on) => {
                let max_norm = on.then_some(1e30);
                let control = GradientControl { max_norm, ..*self.twin.adam.gradient_control() };
                Ok(self.twin.adam.set_gradient_control(control)?)
            }
            Line::RefusedControl => self.refused_control(),
            Line::Overflow(tensor) => self.overflow(*tensor),
            Line::DropGrad(_) | Line::GiveGrad(_) | Line::Replace { .. } | Line::Remove(_) | Line::Reset(_)
                if self.twin.tensors.is_empty() =>
            {
                Ok(())
            }
            Line::DropGrad(tensor) => self.twin.drop_grad(tensor % self.twin.tensors.len()),
            Line::GiveGrad(tensor) => self.twin.give_grad(tensor % self.twin.tensors.len()),
            Line::Set(..) | Line::AddParam(..) | Line::RemoveGroup(_) if self.amsgrad_from_the_start.is_empty() => {
                Ok(())
            }
            Line::Set(group, change) => self.set(group % self.amsgrad_from_the_start.len(), *change),
            Line::AddParam(group, length) => self.add_param(group % self.amsgrad_from_the_start.len(), *length),
            Line::RemoveGroup(group) => self.remove_group(group % self.amsgrad_from_the_start.len()),
            Line::Defragment => self.defragment(),
            Line::Save => self.save().await,
            Line::Load => self.load("").await,
            Line::LoadPrefixed => self.load("module.").await,
            Line::LoadPartial => self.load_partial().await,
            Line::Replace { tensor, length, how } => self.replace(tensor % self.twin.tensors.len(), *length, *how),
            Line::Remove(tensor) => {
                let tensor = self.twin.tensors.remove(tensor % self.twin.tensors.len());
                let id = self.twin.id(&tensor.name)?;
                Ok(self.twin.adam.remove_param(id)?)
            }
            Line::Reset(tensor) => self.reset(tensor % self.twin.tensors.len()),
        }
    }

    fn add(&mut self, lengths: &[u64], arena: bool, amsgrad: bool, decoupled: bool) -> Result<()> {
        let gpu = self.twin.gpu;
        let named: Vec<(String, u64)> =
            lengths.iter().zip(self.names..).map(|(length, name)| (format!("t{name}"), *length)).collect();
        self.names += named.len();
        let mut tensors = Vec::new();
        if arena {
            let shapes = named.iter().map(|(name, length)| (name.clone(), [*length as usize]));
            let arena = TensorArena::new(&gpu.device, shapes)?;
            for (name, length) in &named {
                tensors.push(TwinTensor::new(gpu, name, *length, arena.param_buffer(name)?, arena.grad_buffer(name)?));
            }
        } else {
            tensors.extend(named.iter().map(|(name, length)| TwinTensor::alone(gpu, name, *length)));
        }
        let group = ParamGroup::new(tensors.iter().map(TwinTensor::as_param));
        self.twin.adam.add_param_group(group.amsgrad(amsgrad).decoupled_weight_decay(decoupled))?;
        self.twin.tensors.extend(tensors);
        self.amsgrad_from_the_start.push(amsgrad);
        Ok(())
    }

    /// Adds parts of a tensor, whose other parts stay as they are.
    fn add_parts(&mut self, lengths: &[u64], all: bool) -> Result<()> {
        let gpu = self.twin.gpu;
        let whole = [("whole", [lengths.iter().sum::<u64>() as usize])];
        let arena = TensorArena::new(&gpu.device, whole)?;
        let mut tensors = Vec::new();
        let mut start = 0;
        for (number, length) in lengths.iter().enumerate() {
            let part = start..start + length;
            start = part.end;
            if all || number % 2 == 0 {
                let name = format!("t{}", self.names);
                self.names += 1;
                let (param, grad) = (arena.param_buffer("whole")?, arena.grad_buffer("whole")?);
                tensors.push(TwinTensor::new(gpu, &name, *length, param.slice(part.clone())?, grad.slice(part)?));
            }
        }
        self.twin.adam.add_param_group(ParamGroup::new(tensors.iter().map(TwinTensor::as_param)))?;
        self.twin.tensors.extend(tensors);
        self.amsgrad_from_the_start.push(false);
        Ok(())
    }

    fn add_param(&mut self, group: usize, length: u64) -> Result<()> {
        let tensor = TwinTensor::alone(self.twin.gpu, &format!("t{}", self.names), length);
        self.names += 1;
        self.twin.adam.add_param(group, tensor.as_param())?;
        // If the group's amsgrad is off but was on at the start, a new tensor has no place for the maximum.
        self.amsgrad_from_the_start[group] &= self.twin.adam.param_groups()[group].config().amsgrad;
        self.twin.tensors.push(tensor);
        Ok(())
    }

    fn remove_group(&mut self, group: usize) -> Result<()> {
        let ids = self.twin.adam.param_groups()[group].params().to_vec();
        for id in ids {
            let name = self.twin.adam.param(id)?.name.context("a tensor without a name")?.to_owned();
            self.twin.tensors.retain(|tensor| tensor.name != name);
        }
        self.amsgrad_from_the_start.remove(group);
        Ok(self.twin.adam.remove_group(group)?)
    }

    fn defragment(&mut self) -> Result<()> {
        let gpu = self.twin.gpu;
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        self.twin.adam.record_defragment(&mut encoder)?;
        gpu.queue.submit([encoder.finish()]);
        Ok(())
    }

    fn refused_control(&mut self) -> Result<()> {
        let before = *self.twin.adam.gradient_control();
        for wrong in [
            GradientControl { max_norm: Some(f64::NAN), skip_nonfinite: true, ..before },
            GradientControl { clip_value: Some(0.0), ..before },
            GradientControl { accumulate: 0, max_norm: Some(1.0), ..before },
        ] {
            ensure!(self.twin.adam.set_gradient_control(wrong).is_err(), "{wrong:?} was accepted");
        }
        let small = storage(self.twin.gpu, 4);
        ensure!(self.twin.adam.set_found_inf((&small, 4)).is_err(), "a found_inf behind its buffer was accepted");
        ensure!(*self.twin.adam.gradient_control() == before, "a refused control was set");
        Ok(())
    }

    fn step_on_zeros(&mut self) -> Result<()> {
        let gpu = self.twin.gpu;
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        self.twin.adam.record_zero_grad(&mut encoder, ZeroGrad::Fill)?;
        self.twin.adam.record_step(&mut encoder)?;
        gpu.queue.submit([encoder.finish()]);
        for tensor in &mut self.twin.tensors {
            if let Some(grad) = &mut tensor.grad_values {
                grad.fill(0.0);
            }
        }
        self.twin.step_reference()
    }

    fn overflow(&mut self, choice: usize) -> Result<()> {
        let has_elements = |tensor: &&TwinTensor| tensor.length > 0 && tensor.grad_values.is_some();
        let candidates: Vec<&TwinTensor> = self.twin.tensors.iter().filter(has_elements).collect();
        if candidates.is_empty() || !self.twin.adam.gradient_control().skip_nonfinite {
            return Ok(());
        }
        let chosen = candidates[choice % candidates.len()];
        let (grad, element) = (chosen.grad.clone(), choice as u64 % chosen.length);
        self.twin.write_grads();
        let queue = &self.twin.gpu.queue;
        queue.write_buffer(grad.buffer(), grad.offset() + element * 4, bytemuck::bytes_of(&f32::NAN));
        self.twin.adam.step()?;
        Ok(())
    }

    fn set(&mut self, group: usize, change: Change) -> Result<()> {
        let adam = &mut self.twin.adam;
        match change {
            Change::Lr(lr) => adam.set_lr(group, lr)?,
            Change::Betas(beta1, beta2) => adam.set_betas(group, (beta1, beta2))?,
            Change::Eps(eps) => adam.set_eps(group, eps)?,
            Change::WeightDecay(decay) => adam.set_weight_decay(group, decay)?,
            Change::Maximize(on) => adam.set_maximize(group, on)?,
            Change::Decoupled(on) => adam.set_decoupled_weight_decay(group, on)?,
            // Turning amsgrad off is always possible, turning it on only if the maximum was kept from the first step.
            Change::Amsgrad(on) if !on || self.amsgrad_from_the_start[group] => adam.set_amsgrad(group, on)?,
            Change::Amsgrad(_) => {}
        }
        Ok(())
    }

    fn reset(&mut self, index: usize) -> Result<()> {
        let id = self.twin.id(&self.twin.tensors[index].name)?;
        let gpu = self.twin.gpu;
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        self.twin.adam.record_reset_state(&mut encoder, id)?;
        gpu.queue.submit([encoder.finish()]);
        let tensor = &mut self.twin.tensors[index];
        let zeros = vec![0.0; tensor.length as usize];
        let param = std::mem::take(&mut tensor.reference.param);
        let (exp_avg_sq, max_exp_avg_sq) = (zeros.clone(), zeros.clone());
        tensor.reference = Reference { param, exp_avg: zeros, exp_avg_sq, max_exp_avg_sq, step: 0 };
        Ok(())
    }

    fn replace(&mut self, index: usize, length: u64, how: How) -> Result<()> {
        let gpu = self.twin.gpu;
        let name = self.twin.tensors[index].name.clone();
        let id = self.twin.id(&name)?;
        let mut new = TwinTensor::alone(gpu, &name, length);
        let old = &self.twin.tensors[index].reference;
        // Without a step, moments are not saved, so a load does not restore them.
        let how = if old.step == 0 { How::Clear } else { how };
        let moments = match how {
            How::Clear => Moments::Clear,
            How::Keep => {
                let resize =
                    |moment: &[f64]| (0..length as usize).map(|i| moment.get(i).copied().unwrap_or(0.0)).collect();
                new.reference.exp_avg = resize(&old.exp_avg);
                new.reference.exp_avg_sq = resize(&old.exp_avg_sq);
                new.reference.max_exp_avg_sq = resize(&old.max_exp_avg_sq);
                new.reference.step = old.step;
                Moments::Keep
            }
            How::From => {
                // Averages that gradients below 1 could have, with squares that are not small.
                let exp_avg = values(501, length);
                let exp_avg_sq: Vec<f32> = values(502, length).into_iter().map(|x| 0.6 + 0.3 * x).collect();
                let upload = |values: &[f32]| {
                    let buffer = storage(gpu, length * 4);
                    gpu.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(values));
                    TensorBuffer::from(&buffer)
                };
                let wide = |values: &[f32]| values.iter().copied().map(f64::from).collect();
                new.reference.exp_avg = wide(&exp_avg);
                new.reference.exp_avg_sq = wide(&exp_avg_sq);
                new.reference.max_exp_avg_sq = wide(&exp_avg_sq);
                new.reference.step = old.step;
                let (exp_avg, exp_avg_sq) = (upload(&exp_avg), upload(&exp_avg_sq));
                Moments::From { max_exp_avg_sq: Some(exp_avg_sq.clone()), exp_avg, exp_avg_sq }
            }
        };
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        self.twin.adam.record_replace_param(&mut encoder, id, new.as_param(), moments)?;
        gpu.queue.submit([encoder.finish()]);
        self.twin.tensors[index] = new;
        Ok(())
    }

    /// The groups, with copies of their parameters' references.
    fn groups(&self) -> Result<Vec<GroupCopy>> {
        let mut groups = Vec::new();
        for group in self.twin.adam.param_groups() {
            let mut params = Vec::new();
            for &id in group.params() {
                let name = self.twin.adam.param(id)?.name.unwrap_or_default();
                let tensor = self.twin.tensors.iter().find(|tensor| tensor.name == name).context("unknown")?;
                let stepped = self.twin.adam.param(id)?.step > 0;
                params.push(ParamCopy { name: name.to_owned(), reference: tensor.reference.clone(), stepped });
            }
            groups.push((*group.config(), params));
        }
        Ok(groups)
    }

    async fn save(&mut self) -> Result<()> {
        self.twin.check("when saving").await?;
        let dict = self.twin.adam.state_dict().await?;
        self.saved = Some(Saved { dict, groups: self.groups()? });
        Ok(())
    }

    /// Loads the saved state. It must be refused if it does not fit the current groups.
    async fn load(&mut self, prefix: &str) -> Result<()> {
        let Some(mut saved) = self.saved.take() else { return Ok(()) };
        for name in saved.dict.param_groups.iter_mut().filter_map(|group| group.param_names.as_mut()).flatten() {
            name.insert_str(0, prefix);
        }
        let now = self.groups()?;
        let result = self.twin.adam.load_state_dict(&saved.dict).await;
        let Some(matched) = matched(&saved.groups, &now) else {
            let refusal = match result {
                Err(
                    Error::StateDict(StateDictError::Groups { .. })
                    | Error::StateDict(StateDictError::GroupSize { .. })
                    | Error::StateDict(StateDictError::Names { .. })
                    | Error::StateDict(StateDictError::Entry { .. }),
                ) => Ok(()),
                other => bail!("a dict that does not fit returned {other:?}"),
            };
            ensure!(self.groups()? == now, "a refused dict has changed the groups");
            return refusal;
        };
        result.context("a dict that fits is refused")?;
        for (name, old) in matched {
            let tensor = self.twin.tensors.iter_mut().find(|tensor| tensor.name == name).context("unknown")?;
            let length = tensor.length as usize;
            let param = std::mem::take(&mut tensor.reference.param);
            // Parameters without a saved step start again.
            tensor.reference = if old.step == 0 { Reference::new(&vec![0.0; length]) } else { old };
            tensor.reference.param = param;
        }
        // Loading makes a place for max_exp_avg_sq if the dict has one or asks for one.
        for (number, group) in self.twin.adam.param_groups().iter().enumerate() {
            let entries = saved.dict.param_groups[number].params.iter().map(|id| saved.dict.state.get(id));
            let mut kept = entries.map(|entry| entry.is_some_and(|entry| entry.max_exp_avg_sq.is_some()));
            let made_with = &mut self.amsgrad_from_the_start[number];
            *made_with = group.config().amsgrad || (*made_with && kept.len() > 0 && kept.all(|kept| kept));
        }
        Ok(())
    }
}

impl Machine<'_> {
    /// Loads the saved state of the parameters that still exist; the others start again.
    async fn load_partial(&mut self) -> Result<()> {
        let Some(saved) = self.saved.take() else { return Ok(()) };
        let now = self.groups()?;
        let options = LoadOptions::new().matching(StateMatching::Partial);
        let known: Vec<ParamCopy> = saved.groups.iter().flat_map(|(_, params)| params.clone()).collect();
        match self.twin.adam.load_state_dict_with(&saved.dict, &options).await {
            Ok(()) => {}
            // Refused: another length, a missing maximum that the group needs, or no names at all.
            Err(Error::StateDict(StateDictError::Entry { .. }) | Error::StateDict(StateDictError::WithoutNames)) => {
                ensure!(self.groups()? == now, "a refused dict has changed the groups");
                return Ok(());
            }
            other => bail!("loading a part of a dict returned {other:?}"),
        }
        for tensor in &mut self.twin.tensors {
            let length = tensor.length as usize;
            let old = known.iter().find(|param| param.name == tensor.name && param.reference.step > 0);
            let param = std::mem::take(&mut tensor.reference.param);
            tensor.reference = old.map_or_else(|| Reference::new(&vec![0.0; length]), |old| old.reference.clone());
            tensor.reference.param = param;
        }
        for (made_with, group) in self.amsgrad_from_the_start.iter_mut().zip(self.twin.adam.param_groups()) {
            *made_with = group.config().amsgrad;
        }
        Ok(())
    }
}

/// The saved state for each current parameter, by name; `None` if the groups do not fit.
fn matched(saved: &[GroupCopy], now: &[GroupCopy]) -> Option<Vec<(String, Reference)>> {
    let sizes = |groups: &[GroupCopy]| groups.iter().map(|(_, params)| params.len()).collect::<Vec<_>>();
    let params = |groups: &[GroupCopy]| groups.iter().flat_map(|(_, params)| params.clone()).collect::<Vec<_>>();
    if sizes(saved) != sizes(now) {
        return None;
    }
    let (saved, now) = (params(saved), params(now));
    let pairs = now.iter().map(|current| {
        let old = saved.iter().find(|other| other.name == current.name)?;
        let fits = !old.stepped || old.reference.param.len() == current.reference.param.len();
        fits.then(|| (current.name.clone(), old.reference.clone()))
    });
    pairs.collect()
}
