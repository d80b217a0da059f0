//! Replays the operations of a golden case on a [`WgpuAdam`].

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use wgpu_adam::{
    AdamConfig, GradientControl, LossScale, NormType, Param, ParamGroup, ParamId, ParamState, StateDict, StateGroup,
    TensorArena, TensorBuffer, TensorState, WgpuAdam,
};

use crate::{
    adapter::Gpu,
    golden::{Algorithm, Case, Expected, GroupSpec, Key, Op, Options, Tag},
    plain::clip_factor,
    readback::{Span, read_all, state_spans},
    twin::storage,
};

/// The placement of a replay's tensors.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Placement {
    /// All tensors of one constructor or add_param_group call in one [`TensorArena`].
    Arena,
    /// Each parameter and each gradient in a separate buffer of exactly its length.
    OwnBuffers,
}

/// The library's results at a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    pub name: String,
    pub groups: Vec<Group>,
    /// Sorted by name.
    pub params: Vec<Outcome>,
}

/// A parameter group: its options and the names of its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    pub config: AdamConfig,
    pub params: Vec<String>,
}

/// One parameter at a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub id: String,
    /// 0: no state yet.
    pub step: u64,
    /// The whole tensors, for the keys that both the case's results and the library have.
    pub values: BTreeMap<Key, Vec<f32>>,
}

/// How the library finds out that a gradient is not finite.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FoundInf {
    /// It measures the gradients.
    Seen,
    /// A buffer says so, as for torch's fused step.
    Told,
}

/// Replays a case with one submit per step.
pub async fn replay(gpu: &Gpu, case: &Case, placement: Placement) -> Result<Vec<Checkpoint>> {
    replay_with(gpu, case, placement, FoundInf::Seen).await
}

/// The same, with `found_inf` measured or from a buffer.
pub async fn replay_with(gpu: &Gpu, case: &Case, placement: Placement, found: FoundInf) -> Result<Vec<Checkpoint>> {
    let Some((Op::Construct { algorithm, defaults, groups }, rest)) = case.timeline().split_first() else {
        bail!("{} does not begin with a constructor", case.name());
    };
    let mut replay = Replay::construct(gpu, case, placement, *algorithm, defaults, groups)?;
    if found == FoundInf::Told {
        let told = storage(gpu, TOLD_AT + 4);
        replay.adam.set_found_inf((&told, TOLD_AT))?;
        replay.told = Some(told);
    }
    let mut checkpoints = Vec::new();
    for op in rest {
        match op {
            Op::Step { n, none, .. } => {
                replay.set_control(op)?;
                replay.step(*n, none).with_context(|| format!("step {n}"))?;
                replay.check_statistics(op).await.with_context(|| format!("step {n}"))?;
            }
            Op::Set { group, values } => replay.set(*group, values)?,
            Op::AddGroup { group } => replay.add_group(group)?,
            Op::Checkpoint(expected) => checkpoints.push(replay.read(expected).await?),
            Op::Reload { defaults } => replay.reload(*algorithm, defaults).await.context("reloading")?,
            Op::LoadState { steps } => replay.load(steps).await.context("loading a state")?,
            Op::Construct { .. } => bail!("{op:?} is not replayed"),
        }
    }
    Ok(checkpoints)
}

struct Replay<'a> {
    gpu: &'a Gpu,
    case: &'a Case,
    tensors: Tensors<'a>,
    adam: WgpuAdam,
    /// The parameters that currently have no gradient.
    none: BTreeSet<String>,
    /// The buffer that says whether gradients are finite.
    told: Option<wgpu::Buffer>,
}

/// Offset in that buffer, in bytes.
const TOLD_AT: u64 = 12;
/// The relative error that the norm of gradients may have against float64.
const NORM_ERROR: f64 = 5e-7;

impl<'a> Replay<'a> {
    fn construct(
        gpu: &'a Gpu,
        case: &'a Case,
        placement: Placement,
        algorithm: Algorithm,
        defaults: &Options,
        groups: &[GroupSpec],
    ) -> Result<Self> {
        let mut tensors = Tensors { gpu, case, placement, arenas: Vec::new(), places: BTreeMap::new() };
        let ids: Vec<&String> = groups.iter().flat_map(|group| &group.params).collect();
        let mut params = tensors.create(&ids)?.into_iter();
        let groups: Vec<ParamGroup> =
            groups.iter().map(|group| make_group(params.by_ref().take(group.params.len()), &group.options)).collect();
        let defaults = defaults.over(&algorithm.defaults());
        let adam = WgpuAdam::new(&gpu.device, &gpu.queue, groups, defaults).context("building the optimizer")?;
        Ok(Self { gpu, case, tensors, adam, none: BTreeSet::new(), told: None })
    }

    fn add_group(&mut self, group: &GroupSpec) -> Result<()> {
        let params = self.tensors.create(&group.params.iter().collect::<Vec<_>>())?;
        self.adam.add_param_group(make_group(params.into_iter(), &group.options)).context("adding a group")?;
        Ok(())
    }

    fn set(&mut self, group: usize, values: &Options) -> Result<()> {
        let adam = &mut self.adam;
        values.lr.map(|lr| adam.set_lr(group, lr)).transpose()?;
        values.betas.map(|betas| adam.set_betas(group, betas)).transpose()?;
        values.eps.map(|eps| adam.set_eps(group, eps)).transpose()?;
        values.weight_decay.map(|decay| adam.set_weight_decay(group, decay)).transpose()?;
        values.amsgrad.map(|on| adam.set_amsgrad(group, on)).transpose()?;
        values.maximize.map(|on| adam.set_maximize(group, on)).transpose()?;
        values.decoupled_weight_decay.map(|on| adam.set_decoupled_weight_decay(group, on)).transpose()?;
        Ok(())
    }

    /// Sets scaling, clipping and skipping for a step, if they differ from the step before.
    fn set_control(&mut self, op: &Op) -> Result<()> {
        let Op::Step { grad_scale, found_inf, clip_norm, norm_type, .. } = *op else { bail!("{op:?} is no step") };
        let control = GradientControl {
            max_norm: clip_norm,
            norm_type: norm_type.map_or(NormType::Two, NormType::from),
            skip_nonfinite: found_inf.is_some() && self.told.is_none(),
            loss_scale: grad_scale.map_or(LossScale::None, LossScale::Fixed),
            ..GradientControl::default()
        };
        if *self.adam.gradient_control() != control {
            self.adam.set_gradient_control(control)?;
        }
        if let Some((told, found_inf)) = self.told.as_ref().zip(found_inf) {
            self.gpu.queue.write_buffer(told, TOLD_AT, bytemuck::bytes_of(&(found_inf as f32)));
        }
        Ok(())
    }

    /// Compares the step's statistics with torch's records.
    async fn check_statistics(&self, op: &Op) -> Result<()> {
        let Op::Step { found_inf, clip_norm, grad_norm, .. } = *op else { bail!("{op:?} is no step") };
        if found_inf.is_none() && clip_norm.is_none() {
            return Ok(());
        }
        let statistics = self.adam.statistics().await?;
        let found = found_inf.is_some_and(|found| found != 0.0);
        ensure!(statistics.found_inf == found, "found_inf {} instead of {found}", statistics.found_inf);
        if let Some((bound, want)) = clip_norm.zip(grad_norm) {
            for (what, got, want) in
                [("norm", statistics.grad_norm, want), ("factor", statistics.clip_factor, clip_factor(want, bound))]
            {
                let off = (f64::from(got) - want).abs() / want;
                ensure!(off <= NORM_ERROR, "clip {what} {got:e} instead of {want:e}: off by {off:.1e}");
            }
        }
        Ok(())
    }

    fn step(&mut self, n: u64, none: &[String]) -> Result<()> {
        let ids: Vec<String> = self.tensors.places.keys().cloned().collect();
        for id in ids {
            if none.contains(&id) {
                if self.none.insert(id.clone()) {
                    self.adam.set_grad_to_none(self.find(&id)?)?;
                }
                continue;
            }
            if self.none.remove(&id) {
                self.adam.set_grad(self.find(&id)?, self.tensors.place(&id)?.grad.clone())?;
            }
            self.tensors.write_grad(&id, &self.case.gradient(n, &id)?)?;
        }
        self.adam.step()?;
        Ok(())
    }

    /// A new optimizer over the same tensors and group sizes, with the old one's state.
    async fn reload(&mut self, algorithm: Algorithm, defaults: &Options) -> Result<()> {
        let dict = self.adam.state_dict().await?;
        let group = |group: &wgpu_adam::Group| {
            let param = |&id: &ParamId| self.tensors.param(self.adam.param(id)?.name.unwrap_or_default());
            Ok(ParamGroup::new(group.params().iter().map(param).collect::<Result<Vec<_>>>()?))
        };
        let groups: Vec<ParamGroup> = self.adam.param_groups().iter().map(group).collect::<Result<_>>()?;
        let defaults = defaults.over(&algorithm.defaults());
        self.adam = WgpuAdam::new(&self.gpu.device, &self.gpu.queue, groups, defaults)?;
        self.none.clear();
        Ok(self.adam.load_state_dict(&dict).await?)
    }

    /// A state dict with the current groups and the case's moments.
    async fn load(&mut self, steps: &BTreeMap<String, u64>) -> Result<()> {
        let mut dict = StateDict::default();
        let mut next_id = 0;
        for group in self.adam.param_groups() {
            let first = next_id;
            for &param in group.params() {
                let id = self.adam.param(param)?.name.unwrap_or_default();
                if let Some(&step) = steps.get(id) {
                    let moment = |key| anyhow::Ok(self.case.loaded(id, key)?.unwrap_or_default());
                    let entry = TensorState {
                        step,
                        shape: self.adam.param(param)?.shape.to_vec(),
                        exp_avg: moment(Key::ExpAvg)?,
                        exp_avg_sq: moment(Key::ExpAvgSq)?,
                        max_exp_avg_sq: self.case.loaded(id, Key::MaxExpAvgSq)?,
                    };
                    dict.state.insert(next_id, entry);
                }
                next_id += 1;
            }
            dict.param_groups.push(StateGroup::new(group.config(), (first..next_id).collect(), None));
        }
        Ok(self.adam.load_state_dict(&dict).await?)
    }

    async fn read(&self, expected: &Expected) -> Result<Checkpoint> {
        let device_steps = self.device_steps().await?;
        let mut params = Vec::new();
        let mut wanted = Vec::new();
        let mut spans = Vec::new();
        for id in expected.steps.keys() {
            let handle = self.find(id)?;
            let state = self.adam.state(handle)?;
            for key in Key::ALL {
                let spans_of_key = match key {
                    _ if !self.case.has_result(&expected.name, id, key) => None,
                    Key::Param => Some(vec![self.param_span(id)?]),
                    _ if !has_state(&state, key) => None,
                    _ => Some(state_spans(&state, key).with_context(|| format!("the {key} of {id}"))?),
                };
                if let Some(found) = spans_of_key {
                    wanted.push((params.len(), key));
                    spans.push(found);
                }
            }
            let step = device_steps.get(id).copied().unwrap_or(self.adam.param(handle)?.step);
            params.push(Outcome { id: id.clone(), step, values: BTreeMap::new() });
        }
        for ((index, key), values) in wanted.into_iter().zip(read_all(self.gpu, &spans).await?) {
            params[index].values.insert(key, values);
        }
        Ok(Checkpoint { name: expected.name.clone(), groups: self.groups()?, params })
    }

    /// If steps may be skipped, the device's counts.
    async fn device_steps(&self) -> Result<BTreeMap<String, u64>> {
        if self.case.tag() != Tag::GradScale {
            return Ok(BTreeMap::new());
        }
        let dict = self.adam.state_dict().await?;
        let ids = self.adam.param_groups().iter().flat_map(wgpu_adam::Group::params);
        let step = |(number, &id): (u64, &ParamId)| {
            let name = self.adam.param(id)?.name.unwrap_or_default().to_owned();
            Ok((name, dict.state.get(&number).map_or(0, |entry| entry.step)))
        };
        (0..).zip(ids).map(step).collect()
    }

    fn groups(&self) -> Result<Vec<Group>> {
        let name = |&id: &ParamId| Ok(self.adam.param(id)?.name.unwrap_or_default().to_owned());
        let group = |group: &wgpu_adam::Group| {
            Ok(Group { config: *group.config(), params: group.params().iter().map(name).collect::<Result<_>>()? })
        };
        self.adam.param_groups().iter().map(group).collect()
    }

    fn param_span(&self, id: &str) -> Result<Span> {
        let place = &self.tensors.place(id)?.param;
        let elements = self.case.param(id)?.elements() as u64;
        Ok(Span { buffer: place.buffer().clone(), offset: place.offset(), elements })
    }

    fn find(&self, id: &str) -> Result<ParamId> {
        self.adam.find(id).with_context(|| format!("the optimizer has no parameter {id}"))
    }
}

/// Zero-length moments have no piece that shows whether there is a maximum, so they count as present.
fn has_state(state: &ParamState, key: Key) -> bool {
    state.step > 0 && (key != Key::MaxExpAvgSq || state.pieces.iter().all(|piece| piece.max_exp_avg_sq.is_some()))
}

/// Omits the options that the case omits, to test inherited options too.
fn make_group(params: impl Iterator<Item = Param>, options: &Options) -> ParamGroup {
    let Options { lr, betas, eps, weight_decay, amsgrad, maximize, decoupled_weight_decay } = *options;
    let group = ParamGroup::new(params);
    let group = lr.into_iter().fold(group, ParamGroup::lr);
    let group = betas.into_iter().fold(group, ParamGroup::betas);
    let group = eps.into_iter().fold(group, ParamGroup::eps);
    let group = weight_decay.into_iter().fold(group, ParamGroup::weight_decay);
    let group = amsgrad.into_iter().fold(group, ParamGroup::amsgrad);
    let group = maximize.into_iter().fold(group, ParamGroup::maximize);
    decoupled_weight_decay.into_iter().fold(group, ParamGroup::decoupled_weight_decay)
}

/// The buffers of a replay.
struct Tensors<'a> {
    gpu: &'a Gpu,
    case: &'a Case,
    placement: Placement,
    arenas: Vec<TensorArena>,
    places: BTreeMap<String, Place>,
}

struct Place {
    param: TensorBuffer,
    grad: TensorBuffer,
    /// The index of its arena.
    arena: Option<usize>,
}

impl Tensors<'_> {
    /// Creates parameters with their initial values.
    fn create(&mut self, ids: &[&String]) -> Result<Vec<Param>> {
        match self.placement {
            Placement::Arena if ids.is_empty() => Ok(Vec::new()),
            Placement::Arena => self.create_arena(ids),
            Placement::OwnBuffers => ids.iter().map(|id| self.create_own(id)).collect(),
        }
    }

    fn create_arena(&mut self, ids: &[&String]) -> Result<Vec<Param>> {
        let shapes: Vec<(&str, &[usize])> =
            ids.iter().map(|id| Ok((id.as_str(), self.case.param(id)?.shape.as_slice()))).collect::<Result<_>>()?;
        let arena = TensorArena::new(&self.gpu.device, shapes).context("building an arena")?;
        for &id in ids {
            arena.write_param(&self.gpu.queue, id, &self.case.initial(id)?)?;
            let (param, grad) = (arena.param_buffer(id)?, arena.grad_buffer(id)?);
            self.places.insert(id.clone(), Place { param, grad, arena: Some(self.arenas.len()) });
        }
        let params = arena.params();
        self.arenas.push(arena);
        Ok(params)
    }

    fn create_own(&mut self, id: &str) -> Result<Param> {
        let spec = self.case.param(id)?;
        let buffer = |label: String| {
            self.gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(&label),
                // A tensor without elements still requires a buffer.
                size: (4 * spec.elements() as u64).max(4),
                usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        };
        let (param, grad) = (buffer(format!("{id} param")), buffer(format!("{id} grad")));
        self.gpu.queue.write_buffer(&param, 0, bytemuck::cast_slice(&self.case.initial(id)?));
        let place = Place { param: (&param).into(), grad: (&grad).into(), arena: None };
        self.places.insert(id.to_owned(), place);
        Ok(Param::new(id, spec.shape.clone(), &param, &grad))
    }

    /// A created parameter, for another optimizer.
    fn param(&self, id: &str) -> Result<Param> {
        let Place { param, grad, .. } = self.place(id)?;
        Ok(Param::new(id, self.case.param(id)?.shape.clone(), param.clone(), grad.clone()))
    }

    fn place(&self, id: &str) -> Result<&Place> {
        self.places.get(id).with_context(|| format!("{id} has no buffers"))
    }

    fn write_grad(&self, id: &str, values: &[f32]) -> Result<()> {
        let place = self.place(id)?;
        let queue = &self.gpu.queue;
        match place.arena {
            Some(arena) => self.arenas[arena].write_grad(queue, id, values)?,
            None => queue.write_buffer(place.grad.buffer(), place.grad.offset(), bytemuck::cast_slice(values)),
        }
        Ok(())
    }
}
