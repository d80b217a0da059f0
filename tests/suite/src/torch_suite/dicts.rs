//! State dicts: their content, and two optimizers that continue from one in parallel.

use anyhow::{Context, Result, ensure};
use wgpu_adam::{AdamConfig, Param, ParamGroup, StateDict, StateGroup, WgpuAdam};

use super::{
    configurations,
    directions::{Layout, backward, problem},
    read_params, same_dicts,
};
use crate::{
    Gpu,
    twin::{Twin, same_bits, storage},
    values::values,
};

/// Some steps, a dict into another optimizer over copied parameters, then the same number of steps of both.
pub async fn in_parallel(gpu: &Gpu, steps: u64) -> Result<()> {
    for (case, config) in configurations() {
        let mut one = Twin::new(gpu, problem(gpu, "problem", Layout::Own).into(), config)?;
        let mut two = Twin::new(gpu, problem(gpu, "problem", Layout::Offsets).into(), config)?;
        for number in 0..steps {
            backward(&mut one).await?;
            one.adam.step()?;
            // The other optimizer's earlier steps do not matter.
            if number < steps / 4 {
                two.step()?;
            }
        }
        for (param, tensor) in read_params(&one).await?.iter().zip(&two.tensors) {
            gpu.queue.write_buffer(tensor.param.buffer(), tensor.param.offset(), bytemuck::cast_slice(param));
        }
        let dict = one.adam.state_dict().await?;
        let kept = dict.clone();
        two.adam.load_state_dict(&dict).await?;
        same_dicts(&format!("{case}: loaded"), &two.adam.state_dict().await?, &kept)?;
        for number in 1..=steps {
            let case = format!("{case}, step {number} in parallel");
            for twin in [&mut one, &mut two] {
                backward(twin).await?;
                twin.adam.step()?;
            }
            let (params, others) = (read_params(&one).await?, read_params(&two).await?);
            for ((tensor, want), got) in one.tensors.iter().zip(&params).zip(&others) {
                same_bits(&format!("{case}: {}", tensor.name), got, want)?;
            }
            same_dicts(&case, &two.adam.state_dict().await?, &one.adam.state_dict().await?)?;
        }
        // Neither loading nor later steps change the dict.
        same_dicts(&format!("{case}: the dict afterwards"), &dict, &kept)?;
        let count = two.adam.param(two.id("problem.bias")?)?.step;
        ensure!(count == 2 * steps, "{case}: {count} steps");
    }
    Ok(())
}

/// No state before the first step, and state after it.
pub async fn beginning(gpu: &Gpu) -> Result<()> {
    for (case, config) in configurations() {
        let mut twin = Twin::new(gpu, problem(gpu, "problem", Layout::Own).into(), config)?;
        let fresh = twin.adam.state_dict().await?;
        ensure!(fresh.state.is_empty(), "{case}: entries {:?} before the first step", fresh.state.keys());
        twin.step()?;
        let dict = twin.adam.state_dict().await?;
        ensure!(dict.state.keys().eq(&[0, 1]), "{case}: entries {:?} after a step", dict.state.keys());
        for (id, entry) in &dict.state {
            ensure!(entry.step == 1, "{case}: entry {id} has step {}", entry.step);
            ensure!(entry.exp_avg.iter().any(|m| *m != 0.0), "{case}: entry {id} has no exp_avg");
            ensure!(entry.max_exp_avg_sq.is_some() == config.amsgrad, "{case}: max_exp_avg_sq of entry {id}");
        }
        // A fresh dict resets a run to its beginning.
        twin.adam.load_state_dict(&fresh).await?;
        same_dicts(&format!("{case}: back at the beginning"), &twin.adam.state_dict().await?, &fresh)?;
    }
    Ok(())
}

/// Parameters of all shapes in four groups, one of them empty; the fifth parameter has no gradient.
pub fn shapes(gpu: &Gpu, names: Option<[&str; 6]>) -> Result<WgpuAdam> {
    let shapes: [&[usize]; 6] = [&[2, 3], &[], &[7], &[0], &[4], &[1, 1, 5]];
    let mut params = Vec::new();
    for (number, shape) in (0..).zip(shapes) {
        let length = shape.iter().product::<usize>() as u64;
        let (param, grad) = (storage(gpu, length * 4), storage(gpu, length * 4));
        gpu.queue.write_buffer(&param, 0, bytemuck::cast_slice(&values(200 + number, length)));
        gpu.queue.write_buffer(&grad, 0, bytemuck::cast_slice(&values(300 + number, length)));
        let name = names.map_or("", |names| names[number as usize]);
        let param =
            if number == 4 { Param::without_grad(name, shape, &param) } else { Param::new(name, shape, &param, &grad) };
        params.push(if names.is_some() { param } else { param.unnamed() });
    }
    let mut params = params.into_iter();
    let groups = [(2, 0.01), (0, 0.02), (1, 0.03), (3, 0.04)]
        .map(|(count, lr)| ParamGroup::new(params.by_ref().take(count)).lr(lr).amsgrad(count == 1));
    let groups = Vec::from(groups);
    Ok(WgpuAdam::new(&gpu.device, &gpu.queue, groups, AdamConfig { eps: 1e-6, ..Default::default() })?)
}

pub const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// Ids count over all groups, with or without names. An optimizer of either kind loads a dict of either kind.
pub async fn packed_ids(gpu: &Gpu) -> Result<()> {
    for saved in [None, Some(NAMES)] {
        let mut adam = shapes(gpu, saved)?;
        adam.step()?;
        adam.step()?;
        let dict = adam.state_dict().await?;
        for (number, (group, ids)) in dict.param_groups.iter().zip([0..2, 2..2, 2..3, 3..6]).enumerate() {
            let names = saved.as_ref().filter(|_| !ids.is_empty());
            let names = names.map(|all| ids.clone().map(|id| all[id as usize].to_owned()).collect());
            let want = StateGroup::new(adam.param_groups()[number].config(), ids.collect(), names);
            ensure!(*group == want, "{saved:?}: group {number} is {group:?} instead of {want:?}");
        }
        ensure!(dict.param_groups.len() == 4, "{saved:?}: {} groups", dict.param_groups.len());
        ensure!(dict.state.keys().eq(&[0, 1, 2, 3, 5]), "{saved:?}: entries {:?}", dict.state.keys());
        same_dicts("packed again", &adam.state_dict().await?, &dict)?;
        for current in [None, Some(NAMES)] {
            let case = format!("saved {saved:?}, current {current:?}");
            let mut loaded = shapes(gpu, current)?;
            loaded.load_state_dict(&dict).await?;
            let mut want = dict.clone();
            if saved.is_none() && current.is_some() {
                name(&mut want, NAMES);
            }
            same_dicts(&case, &loaded.state_dict().await?, &want)?;
            loaded.step()?;
            let steps: Vec<u64> = loaded.state_dict().await?.state.values().map(|entry| entry.step).collect();
            ensure!(steps == [3; 5], "{case}: steps {steps:?}");
        }
    }
    Ok(())
}

/// Names the parameters of a dict.
fn name(dict: &mut StateDict, names: [&str; 6]) {
    for group in dict.param_groups.iter_mut().filter(|group| !group.params.is_empty()) {
        group.param_names = Some(group.params.iter().map(|&id| names[id as usize].to_owned()).collect());
    }
}

/// A dict lies on the host: a run continues on another device with the same bits.
pub async fn another_device(gpu: &Gpu) -> Result<()> {
    let other = Gpu::open(&gpu.adapter, wgpu::Limits::downlevel_defaults()).await?;
    for (case, config) in configurations() {
        let mut here = Twin::new(gpu, problem(gpu, "problem", Layout::Own).into(), config)?;
        for _ in 0..3 {
            here.step()?;
        }
        let mut there = Twin::new(&other, problem(&other, "problem", Layout::Own).into(), config)?;
        there.adam.load_state_dict(&here.adam.state_dict().await?).await?;
        for (param, tensor) in read_params(&here).await?.iter().zip(&there.tensors) {
            other.queue.write_buffer(tensor.param.buffer(), 0, bytemuck::cast_slice(param));
        }
        for twin in [&mut here, &mut there] {
            for _ in 0..3 {
                backward(twin).await?;
                twin.adam.step()?;
            }
        }
        same_dicts(&case, &there.adam.state_dict().await?, &here.adam.state_dict().await?)?;
        let (want, got) = (read_params(&here).await?, read_params(&there).await?);
        let (want, got) = (want.first().context("no parameters")?, got.first().context("no parameters")?);
        same_bits(&case, got, want)?;
    }
    other.check_errors()
}
