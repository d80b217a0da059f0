//! torch's own tests of Adam, written anew; `tests/README.md` lists them.

mod dicts;
mod directions;
mod loading;
mod network;
mod schedules;
mod steps;

use anyhow::{Result, ensure};
use wgpu_adam::{AdamConfig, ParamGroup, StateDict, WgpuAdam};

use crate::{
    Body, Gpu, body,
    golden::Key,
    readback::{Span, read_all, state_spans},
    stats::ulp,
    twin::{Twin, TwinTensor, compare, same_bits},
};

pub const BODIES: &[(&str, Body)] = &[
    body!("torch/goes the right direction", gpu => directions::one_group(gpu, 20)),
    body!("torch/goes the right direction with two groups", gpu => directions::two_groups(gpu, 20)),
    body!("torch/200 steps of each configuration", gpu => directions::one_group(gpu, 200)),
    body!("torch/200 steps of each configuration with two groups", gpu => directions::two_groups(gpu, 200)),
    body!("torch/network, wherever it lies", gpu => network::placements(gpu)),
    body!("torch/weight decay of a group", gpu => steps::weight_decay_of_a_group(gpu)),
    body!("torch/lr of a group", gpu => steps::lr_of_a_group(gpu)),
    body!("torch/no gradients, no step", gpu => steps::no_gradients(gpu)),
    body!("torch/zero gradients", gpu => steps::zero_gradients(gpu)),
    body!("torch/amsgrad on and off", gpu => steps::amsgrad_toggles(gpu)),
    body!("torch/minus zero is zero", gpu => steps::minus_zero(gpu)),
    body!("torch/debug", gpu => steps::debug(gpu)),
    body!("torch/state dicts, 10 and 10 steps", gpu => dicts::in_parallel(gpu, 10)),
    body!("torch/state dicts, 20 and 20 steps", gpu => dicts::in_parallel(gpu, 20)),
    body!("torch/state begins with the first step", gpu => dicts::beginning(gpu)),
    body!("torch/packed ids", gpu => dicts::packed_ids(gpu)),
    body!("torch/a dict of another device", gpu => dicts::another_device(gpu)),
    body!("torch/dicts of older versions", gpu => loading::older_versions(gpu)),
    body!("torch/names survive loading", gpu => loading::names(gpu)),
    body!("torch/names match across an order", gpu => loading::by_name(gpu)),
    body!("torch/saved options win", gpu => loading::saved_options(gpu)),
    body!("torch/a parameter without saved state", gpu => loading::without_state(gpu)),
];

/// torch's sample configurations, for Adam and for AdamW.
fn configurations() -> Vec<(String, AdamConfig)> {
    let mut all = Vec::new();
    for (algorithm, base) in [("Adam", AdamConfig::default()), ("AdamW", AdamConfig::adamw())] {
        let decaying = AdamConfig { weight_decay: 0.1, ..base };
        let samples = [
            ("defaults", base),
            ("lr 0.01", AdamConfig { lr: 0.01, ..base }),
            ("weight_decay 0.1", decaying),
            ("weight_decay 0.1, maximize", AdamConfig { maximize: true, ..decaying }),
            ("weight_decay 0.1, amsgrad", AdamConfig { amsgrad: true, ..decaying }),
        ];
        all.extend(samples.map(|(name, config)| (format!("{algorithm}, {name}"), config)));
    }
    all
}

/// The tensors of a group, and the group's settings.
type TwinGroup<'a> = (Vec<TwinTensor>, Box<dyn Fn(ParamGroup) -> ParamGroup + 'a>);

/// A twin of several groups.
fn grouped<'a>(gpu: &'a Gpu, groups: Vec<TwinGroup<'_>>, config: AdamConfig) -> Result<Twin<'a>> {
    let made: Vec<ParamGroup> = groups
        .iter()
        .map(|(tensors, options)| options(ParamGroup::new(tensors.iter().map(TwinTensor::as_param))))
        .collect();
    let tensors = groups.into_iter().flat_map(|(tensors, _)| tensors).collect();
    let mut twin = Twin::new(gpu, tensors, config)?;
    twin.adam = WgpuAdam::new(&gpu.device, &gpu.queue, made, config)?;
    Ok(twin)
}

fn param_span(tensor: &TwinTensor) -> Span {
    Span { buffer: tensor.param.buffer().clone(), offset: tensor.param.offset(), elements: tensor.length }
}

/// Reads the values of all parameters in one readback.
async fn read_params(twin: &Twin<'_>) -> Result<Vec<Vec<f32>>> {
    read_all(twin.gpu, &twin.tensors.iter().map(|tensor| vec![param_span(tensor)]).collect::<Vec<_>>()).await
}

/// Writes a gradient, unless the parameter has none.
fn write_grad(twin: &mut Twin<'_>, index: usize, values: Vec<f32>) {
    let tensor = &mut twin.tensors[index];
    if tensor.grad_values.is_some() {
        twin.gpu.queue.write_buffer(tensor.grad.buffer(), tensor.grad.offset(), bytemuck::cast_slice(&values));
        tensor.grad_values = Some(values);
    }
}

/// A step on both sides with the current gradients.
fn step(twin: &mut Twin<'_>) -> Result<()> {
    twin.adam.step()?;
    twin.step_reference()
}

/// Reads every parameter and its state in one readback. Each entry is the tensor, the key, and the values.
async fn read_everything<'a>(twin: &'a Twin<'_>) -> Result<Vec<(&'a TwinTensor, Key, Vec<f32>)>> {
    let (mut keys, mut lists) = (Vec::new(), Vec::new());
    for tensor in &twin.tensors {
        let state = twin.adam.state(twin.id(&tensor.name)?)?;
        keys.push((tensor, Key::Param));
        lists.push(vec![param_span(tensor)]);
        let largest = state.pieces.iter().any(|piece| piece.max_exp_avg_sq.is_some()).then_some(Key::MaxExpAvgSq);
        for key in [Key::ExpAvg, Key::ExpAvgSq].into_iter().chain(largest) {
            keys.push((tensor, key));
            lists.push(state_spans(&state, key)?);
        }
    }
    let values = read_all(twin.gpu, &lists).await?;
    Ok(keys.into_iter().zip(values).map(|((tensor, key), values)| (tensor, key, values)).collect())
}

/// Compares parameters and all their state with the reference. `lr` is the largest learning rate that was used. Unlike
/// [`Twin::check`] it includes max_exp_avg_sq.
async fn check(twin: &Twin<'_>, case: &str, lr: f64) -> Result<()> {
    let epsilon = f64::from(f32::EPSILON);
    for (tensor, key, got) in read_everything(twin).await? {
        let TwinTensor { name, reference, initial, .. } = tensor;
        let id = twin.id(name)?;
        let case = format!("{case}: {name} {key}");
        let steps = twin.adam.param(id)?.step;
        ensure!(steps == reference.step, "{case}: step {steps} instead of {}", reference.step);
        let steps = steps.max(1) as f64;
        // Gradients are about 1 or smaller, and so are moments.
        let moment = |_, _| 4.0 * steps * epsilon;
        match key {
            Key::Param => compare(&case, &got, &reference.param, |i, want| {
                let size = want.abs().max(f64::from(initial[i].abs()));
                steps * (ulp(size) + 32.0 * lr * epsilon)
            })?,
            Key::ExpAvg => compare(&case, &got, &reference.exp_avg, moment)?,
            Key::ExpAvgSq => compare(&case, &got, &reference.exp_avg_sq, moment)?,
            Key::MaxExpAvgSq => compare(&case, &got, &reference.max_exp_avg_sq, moment)?,
        }
    }
    Ok(())
}

/// Fails if dicts differ in anything, bit for bit.
fn same_dicts(case: &str, got: &StateDict, want: &StateDict) -> Result<()> {
    ensure!(
        got.param_groups == want.param_groups,
        "{case}: the groups are {:?} instead of {:?}",
        got.param_groups,
        want.param_groups
    );
    let ids = [got, want].map(|dict| dict.state.keys().collect::<Vec<_>>());
    ensure!(ids[0] == ids[1], "{case}: entries {:?} instead of {:?}", ids[0], ids[1]);
    for ((id, got), want) in got.state.iter().zip(want.state.values()) {
        let case = format!("{case}: entry {id}");
        ensure!(got.step == want.step, "{case}: step {} instead of {}", got.step, want.step);
        ensure!(got.shape == want.shape, "{case}: shape {:?} instead of {:?}", got.shape, want.shape);
        same_bits(&format!("{case} exp_avg"), &got.exp_avg, &want.exp_avg)?;
        same_bits(&format!("{case} exp_avg_sq"), &got.exp_avg_sq, &want.exp_avg_sq)?;
        let (got, want) = (&got.max_exp_avg_sq, &want.max_exp_avg_sq);
        ensure!(got.is_some() == want.is_some(), "{case} max_exp_avg_sq: {got:?} instead of {want:?}");
        same_bits(
            &format!("{case} max_exp_avg_sq"),
            got.as_deref().unwrap_or_default(),
            want.as_deref().unwrap_or_default(),
        )?;
    }
    Ok(())
}
