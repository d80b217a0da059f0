//! State dicts: their content, when they may be taken, and that a run continues from them with the same bits.

mod matching;

use anyhow::{Context, Result, ensure};
use wgpu_adam::{AdamConfig, Error, ParamGroup, TensorArena, WgpuAdam};

use crate::{
    Body, Gpu, body,
    golden::Key,
    readback::{read_state, read_tensor},
    twin::{Twin, TwinTensor, same_bits},
};

pub const BODIES: &[(&str, Body)] = &[
    body!("states/content", gpu => content(gpu)),
    body!("states/a run goes on to the same bits", gpu => resume(gpu)),
    body!("states/unsubmitted steps", gpu => unsubmitted(gpu)),
    body!("states/steps recorded while a copy is under way", gpu => meanwhile(gpu)),
    body!("states/which goes to which parameter", gpu => matching::cases(gpu)),
    body!("states/of more than one window", gpu => large(gpu)),
];

async fn content(gpu: &Gpu) -> Result<()> {
    let tensors = vec![TwinTensor::alone(gpu, "a", 10), TwinTensor::alone(gpu, "b", 3), TwinTensor::alone(gpu, "c", 0)];
    let mut twin = Twin::new(gpu, tensors, AdamConfig { lr: 0.01, ..Default::default() })?;
    let added = TwinTensor::alone(gpu, "d", 65);
    twin.adam.add_param_group(ParamGroup::new([added.as_param()]).amsgrad(true).betas((0.5, 0.75)))?;
    twin.tensors.push(added);
    let empty = twin.adam.state_dict().await?;
    ensure!(empty.state.is_empty() && empty.param_groups.len() == 2, "before the first step: {empty:?}");
    twin.drop_grad(1)?;
    twin.step()?;
    twin.step()?;
    let dict = twin.adam.state_dict().await?;
    ensure!(
        dict.state.keys().copied().eq([0, 2, 3]),
        "a parameter without steps has an entry: {:?}",
        dict.state.keys()
    );
    ensure!(dict.param_groups[0].params == [0, 1, 2] && dict.param_groups[1].params == [3], "ids are not packed");
    ensure!(dict.param_groups[1].betas == Some((0.5, 0.75)) && dict.param_groups[1].amsgrad == Some(true), "options");
    ensure!(dict.param_groups[1].lr == Some(0.01) && dict.param_groups[0].eps == Some(1e-8), "inherited options");
    ensure!(dict.param_groups[0].param_names.as_deref().is_some_and(|names| names == ["a", "b", "c"]), "names");
    for (id, name) in [(0, "a"), (2, "c"), (3, "d")] {
        let entry = dict.state.get(&id).context("no entry")?;
        let state = twin.adam.state(twin.id(name)?)?;
        ensure!(entry.step == 2, "{name}: step {}", entry.step);
        same_bits(&format!("{name} exp_avg"), &entry.exp_avg, &read_state(gpu, &state, Key::ExpAvg).await?)?;
        same_bits(&format!("{name} exp_avg_sq"), &entry.exp_avg_sq, &read_state(gpu, &state, Key::ExpAvgSq).await?)?;
        ensure!(entry.max_exp_avg_sq.is_some() == (name == "d"), "{name}: max_exp_avg_sq");
    }
    twin.check("after state dicts").await
}

/// 6 steps, a dict into a new optimizer over the same tensors, and 6 more steps give the bits of 12 uninterrupted
/// steps.
async fn resume(gpu: &Gpu) -> Result<()> {
    let mut results = Vec::new();
    for interrupted in [false, true] {
        let arena = TensorArena::new(&gpu.device, [("a", [100]), ("b", [257]), ("c", [5])])?;
        let make = |(name, length)| {
            Ok(TwinTensor::new(gpu, name, length, arena.param_buffer(name)?, arena.grad_buffer(name)?))
        };
        let tensors = [("a", 100), ("b", 257), ("c", 5)].into_iter().map(make).collect::<Result<Vec<_>>>()?;
        let mut twin = Twin::new(gpu, tensors, AdamConfig { weight_decay: 0.1, amsgrad: true, ..Default::default() })?;
        for step in 0..12 {
            if step == 6 && interrupted {
                let dict = twin.adam.state_dict().await?;
                let copy = dict.clone();
                // Other options, which the saved options replace.
                twin.adam = WgpuAdam::new(
                    &gpu.device,
                    &gpu.queue,
                    arena.params(),
                    AdamConfig { lr: 9.0, ..Default::default() },
                )?;
                twin.adam.load_state_dict(&dict).await?;
                ensure!(dict == copy, "loading has changed the dict");
                ensure!(twin.adam.state_dict().await? == dict, "the saved state differs from the loaded one");
                if twin.tensors[2].grad_values.is_none() {
                    twin.drop_grad(2)?;
                }
            }
            if step == 3 {
                twin.drop_grad(2)?;
            }
            if step == 8 {
                twin.give_grad(2)?;
                twin.adam.set_lr(0, 1e-4)?;
            }
            twin.step()?;
        }
        twin.check("resumed").await?;
        let mut bits = Vec::new();
        for tensor in &twin.tensors {
            bits.extend(read_tensor(gpu, &tensor.param, tensor.length).await?);
        }
        results.push(bits);
    }
    same_bits("12 steps", &results[1], &results[0])
}

/// If steps are recorded and not submitted, a dict's step counts would be ahead of its moments.
async fn unsubmitted(gpu: &Gpu) -> Result<()> {
    let mut twin = Twin::new(gpu, vec![TwinTensor::alone(gpu, "a", 10)], AdamConfig::default())?;
    twin.step()?;
    twin.write_grads();
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    twin.adam.record_step(&mut encoder)?;
    twin.adam.record_step(&mut encoder)?;
    twin.step_reference()?;
    twin.step_reference()?;
    let result = twin.adam.state_dict().await;
    ensure!(result == Err(Error::UnsubmittedSteps { steps: 2 }), "unsubmitted: {result:?}");
    // Submitting after the copy is too late as well.
    let dict = twin.adam.state_dict();
    gpu.queue.submit([encoder.finish()]);
    let result = dict.await;
    ensure!(result == Err(Error::UnsubmittedSteps { steps: 2 }), "submitted later: {result:?}");
    let dict = twin.adam.state_dict().await?;
    ensure!(dict.state[&0].step == 3, "step {}", dict.state[&0].step);
    twin.check("after refused dicts").await
}

/// The copy is of the moment of the call. It does not affect later steps, nor do they affect it.
async fn meanwhile(gpu: &Gpu) -> Result<()> {
    let mut twin = Twin::new(gpu, vec![TwinTensor::alone(gpu, "a", 1000)], AdamConfig::default())?;
    twin.step()?;
    let state = twin.adam.state(twin.id("a")?)?;
    let then = read_state(gpu, &state, Key::ExpAvg).await?;
    let dict = twin.adam.state_dict();
    twin.step()?;
    twin.step()?;
    let dict = dict.await?;
    ensure!(dict.state[&0].step == 1, "step {}", dict.state[&0].step);
    same_bits("exp_avg", &dict.state[&0].exp_avg, &then)?;
    twin.check("steps during a copy").await
}

/// Windows and staging buffers of small devices cut tensors at arbitrary places.
async fn large(gpu: &Gpu) -> Result<()> {
    let limits = wgpu::Limits {
        max_storage_buffer_binding_size: 64 << 10,
        max_buffer_size: 1 << 20,
        ..wgpu::Limits::downlevel_defaults()
    };
    let gpu = &gpu.small(limits).await?;
    let mut twin = Twin::new(gpu, vec![TwinTensor::alone(gpu, "a", 200_003)], AdamConfig::default())?;
    twin.step()?;
    let dict = twin.adam.state_dict().await?;
    let state = twin.adam.state(twin.id("a")?)?;
    ensure!(state.pieces.len() > 10, "{} pieces", state.pieces.len());
    same_bits("exp_avg", &dict.state[&0].exp_avg, &read_state(gpu, &state, Key::ExpAvg).await?)?;
    twin.adam.load_state_dict(&dict).await?;
    twin.step()?;
    twin.check("large").await?;
    gpu.check_errors()
}
