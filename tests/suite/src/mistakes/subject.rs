//! The optimizer for mistakes: one tensor of every kind, in groups that differ.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use wgpu::BufferUsages as Usage;
use wgpu_adam::{AdamConfig, Group, Param, ParamGroup, ParamId, ParamState, TensorArena, TensorBuffer, WgpuAdam};

use crate::{
    Gpu,
    readback::{Span, read_all},
    twin::{same_bits, storage},
    values::values,
};

/// `a`, `b` and the empty `none` lie in an arena. `c`, with amsgrad, has separate buffers. `d` and its gradient lie
/// among other data of `pool`. The gradient of `e` cannot be written.
pub struct Subject {
    pub adam: WgpuAdam,
    pub arena: TensorArena,
    pub pool: wgpu::Buffer,
    pub c: (wgpu::Buffer, wgpu::Buffer),
    pub e: (wgpu::Buffer, wgpu::Buffer),
    /// The ids of all parameters, and of `gone`, which was removed.
    pub ids: HashMap<&'static str, ParamId>,
    round: u64,
}

/// The length of `c`; and for `d` its offset in the pool, its gradient's offset and its length.
pub const C: u64 = 33;
pub const D: (u64, u64, u64) = (3, 101, 17);
/// Elements of the pool.
const POOL: u64 = 1024;
/// The number of groups.
pub const GROUPS: usize = 4;

impl Subject {
    pub fn new(gpu: &Gpu) -> Result<Self> {
        let tensors = [("a", vec![10]), ("b", vec![4, 5]), ("none", vec![0, 3])];
        let arena = TensorArena::new(&gpu.device, tensors)?;
        let own = |bytes: u64| (storage(gpu, bytes), storage(gpu, bytes));
        let (pool, c, gone) = (storage(gpu, POOL * 4), own(C * 4), own(20));
        let e = (storage(gpu, 32), unwritable(gpu, &values(77, 8))?);
        let params = Self::params_of(&arena, &pool, &c, &e);
        let [a, b, none, c_param, d, e_param] = <[Param; 6]>::try_from(params).ok().context("six parameters")?;
        let groups = [
            ParamGroup::new([a, b, none]),
            ParamGroup::new([c_param]).lr(0.1).amsgrad(true).weight_decay(0.1),
            ParamGroup::new([Param::new("gone", [5], &gone.0, &gone.1), d, e_param]).decoupled_weight_decay(true),
            ParamGroup::new([]),
        ];
        let mut adam = WgpuAdam::new(&gpu.device, &gpu.queue, groups, AdamConfig { lr: 0.01, ..Default::default() })?;
        let mut ids = HashMap::new();
        for name in ["a", "b", "none", "c", "d", "e", "gone"] {
            ids.insert(name, adam.find(name).context(name)?);
        }
        adam.remove_param(ids["gone"])?;
        arena.write_param(&gpu.queue, "a", &values(1, 10))?;
        arena.write_param(&gpu.queue, "b", &values(2, 20))?;
        for (list, buffer) in [(3, &c.0), (4, &pool), (5, &e.0)] {
            gpu.queue.write_buffer(buffer, 0, bytemuck::cast_slice(&values(list, buffer.size() / 4)));
        }
        let mut subject = Self { adam, arena, pool, c, e, ids, round: 0 };
        subject.write_grads(gpu);
        Ok(subject)
    }

    /// All parameters, as the optimizer received them.
    pub fn params(&self) -> Vec<Param> {
        Self::params_of(&self.arena, &self.pool, &self.c, &self.e)
    }

    fn params_of(
        arena: &TensorArena,
        pool: &wgpu::Buffer,
        c: &(wgpu::Buffer, wgpu::Buffer),
        e: &(wgpu::Buffer, wgpu::Buffer),
    ) -> Vec<Param> {
        let mut params = arena.params();
        params.push(Param::new("c", [C as usize], &c.0, &c.1));
        params.push(Param::new("d", [D.2 as usize], (pool, D.0 * 4), (pool, D.1 * 4)));
        params.push(Param::new("e", [2, 2, 2], &e.0, &e.1));
        params
    }

    /// Writes new gradients, the same ones for every subject in the same round.
    pub fn write_grads(&mut self, gpu: &Gpu) {
        self.round += 1;
        let arena_grad = |name| self.arena.grad_buffer(name).ok().map(|grad| (grad, self.arena_length(name)));
        let own = [(TensorBuffer::from(&self.c.1), C), ((&self.pool, D.1 * 4).into(), D.2)];
        let grads = [arena_grad("a"), arena_grad("b")].into_iter().flatten().chain(own);
        for (number, (grad, length)) in (1..).zip(grads) {
            let grads = values(1000 * self.round + number, length);
            gpu.queue.write_buffer(grad.buffer(), grad.offset(), bytemuck::cast_slice(&grads));
        }
    }

    fn arena_length(&self, name: &str) -> u64 {
        self.arena.param(name).ok().and_then(|binding| binding.size).map_or(0, |size| size.get() / 4)
    }

    /// Everything that a mistake could change.
    pub async fn snapshot(&self, gpu: &Gpu) -> Result<Snapshot> {
        let groups = self.adam.param_groups().to_vec();
        let mut tensors = Vec::new();
        let (arena_param, arena_grad) = (self.arena.param_buffer("a")?, self.arena.grad_buffer("a")?);
        let (arena_param, arena_grad) = (arena_param.buffer(), arena_grad.buffer());
        let mut buffers = vec![
            ("the arena's parameters".to_owned(), arena_param.clone()),
            ("the arena's gradients".to_owned(), arena_grad.clone()),
            ("the pool".to_owned(), self.pool.clone()),
            ("c".to_owned(), self.c.0.clone()),
            ("the gradient of c".to_owned(), self.c.1.clone()),
            ("e".to_owned(), self.e.0.clone()),
            ("the gradient of e".to_owned(), self.e.1.clone()),
        ];
        for &id in groups.iter().flat_map(Group::params) {
            let name = self.adam.param(id)?.name.context("a parameter has lost its name")?.to_owned();
            let state = self.adam.state(id)?;
            for piece in &state.pieces {
                if buffers.iter().all(|(_, buffer)| *buffer != piece.buffer) {
                    buffers.push((format!("the state of {name} and its neighbours"), piece.buffer.clone()));
                }
            }
            tensors.push(Known {
                name,
                shape: self.adam.param(id)?.shape.to_vec(),
                grad: self.adam.param(id)?.has_grad,
                state,
            });
        }
        let whole = |buffer: &wgpu::Buffer| Span { buffer: buffer.clone(), offset: 0, elements: buffer.size() / 4 };
        let spans: Vec<Vec<Span>> = buffers.iter().map(|(_, buffer)| vec![whole(buffer)]).collect();
        let values = read_all(gpu, &spans).await?;
        let contents = buffers.into_iter().map(|(name, _)| name).zip(values).collect();
        Ok(Snapshot { groups, tensors, contents })
    }
}

/// A buffer that is filled at creation and is no copy target afterwards.
fn unwritable(gpu: &Gpu, values: &[f32]) -> Result<wgpu::Buffer> {
    let buffer = gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("unwritable"),
        size: size_of_val(values) as u64,
        usage: Usage::STORAGE | Usage::COPY_SRC,
        mapped_at_creation: true,
    });
    buffer
        .get_mapped_range_mut(..)
        .context("a buffer mapped at creation")?
        .copy_from_slice(bytemuck::cast_slice(values));
    buffer.unmap();
    Ok(buffer)
}

/// What the optimizer reports about a parameter.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    name: String,
    shape: Vec<usize>,
    grad: bool,
    state: ParamState,
}

pub struct Snapshot {
    groups: Vec<Group>,
    tensors: Vec<Known>,
    /// Whole buffers.
    contents: Vec<(String, Vec<f32>)>,
}

impl Snapshot {
    /// Fails if another snapshot of the same subject differs.
    pub fn same(&self, after: &Self) -> Result<()> {
        ensure!(self.groups == after.groups, "groups: {:?} instead of {:?}", after.groups, self.groups);
        for (before, after) in self.tensors.iter().zip(&after.tensors) {
            ensure!(before == after, "{after:?} instead of {before:?}");
        }
        self.same_run(after)
    }

    /// Fails if another subject is in a different state.
    pub fn same_run(&self, other: &Self) -> Result<()> {
        let configs = |snapshot: &Self| snapshot.groups.iter().map(|group| *group.config()).collect::<Vec<_>>();
        ensure!(configs(self) == configs(other), "options: {:?} instead of {:?}", configs(other), configs(self));
        let told = |of: &Self| of.tensors.iter().map(|t| (t.name.clone(), t.grad, t.state.step)).collect::<Vec<_>>();
        ensure!(told(self) == told(other), "names, gradients, steps: {:?} instead of {:?}", told(other), told(self));
        ensure!(self.contents.len() == other.contents.len(), "{} buffers", other.contents.len());
        for ((name, want), (_, got)) in self.contents.iter().zip(&other.contents) {
            same_bits(name, got, want)?;
        }
        Ok(())
    }
}
