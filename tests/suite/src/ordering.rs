//! Recorded commands take effect in the order of recording, whenever they are submitted.

use anyhow::{Result, ensure};
use wgpu_adam::{AdamConfig, Param, ParamGroup, TensorArena, WgpuAdam, ZeroGrad};

use crate::{
    Body, Gpu, body,
    golden::Key,
    readback::{read_f32, read_state, read_tensor},
    twin::{Twin, TwinTensor, same_bits, storage},
    values::values,
};

pub const BODIES: &[(&str, Body)] = &[
    body!("ordering/ten steps in one encoder equal ten submits", gpu => ten_steps(gpu)),
    body!("ordering/300 steps in one encoder", gpu => many_steps_in_one_encoder(gpu)),
    body!("ordering/3000 steps without a poll", gpu => steps_without_a_poll(gpu)),
    body!("ordering/dropped encoders", gpu => dropped_encoders(gpu)),
    body!("ordering/step_with", gpu => step_with(gpu)),
    body!("ordering/two optimizers in one encoder", gpu => two_optimizers(gpu)),
];

const LENGTHS: [u64; 4] = [1000, 64, 257, 3];

/// Ten steps with changes in between. Returns all values and moments at the end.
async fn changing_run(gpu: &Gpu, submit_each: bool) -> Result<Vec<(String, Vec<f32>)>> {
    let names = ["a", "b", "c", "d"];
    let arena =
        TensorArena::new(&gpu.device, names.into_iter().zip(LENGTHS).map(|(name, length)| (name, [length as usize])))?;
    let late = storage(gpu, 4 * 500);
    let late_grad = storage(gpu, 4 * 500);
    gpu.queue.write_buffer(&late, 0, bytemuck::cast_slice(&values(90, 500)));
    // Writes of the queue run before all recorded commands, so each step copies its gradients from a separate buffer.
    let mut sources = Vec::new();
    for step in 0..10 {
        let source = storage(gpu, 4 * (LENGTHS.iter().sum::<u64>() + 500));
        gpu.queue.write_buffer(&source, 0, bytemuck::cast_slice(&values(100 + step, source.size() / 4)));
        sources.push(source);
    }
    for (number, (name, length)) in (10..).zip(names.into_iter().zip(LENGTHS)) {
        arena.write_param(&gpu.queue, name, &values(number, length))?;
    }
    let mut adam =
        WgpuAdam::new(&gpu.device, &gpu.queue, arena.params(), AdamConfig { lr: 0.01, ..Default::default() })?;
    let id = |adam: &WgpuAdam, name: &str| adam.find(name).ok_or_else(|| anyhow::anyhow!("no {name}"));

    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    for (step, source) in sources.iter().enumerate() {
        match step {
            1 => adam.set_lr(0, 0.003)?,
            2 => adam.set_weight_decay(0, 0.1)?,
            3 => adam.set_betas(0, (0.8, 0.99))?,
            4 => adam.set_maximize(0, true)?,
            5 => {
                let (b, d) = (id(&adam, "b")?, id(&adam, "d")?);
                adam.set_grad_to_none(b)?;
                adam.set_grad_to_none(d)?;
            }
            6 => {
                let group = ParamGroup::new([Param::new("late", [500], &late, &late_grad)]);
                adam.add_param_group(group.lr(0.1).amsgrad(true))?;
            }
            7 => {
                let b = id(&adam, "b")?;
                adam.set_grad(b, arena.grad_buffer("b")?)?;
                adam.set_decoupled_weight_decay(0, true)?;
            }
            8 => adam.set_eps(0, 0.0)?,
            9 => {
                adam.set_maximize(0, false)?;
                adam.set_lr(1, 0.0)?;
            }
            _ => {}
        }
        let mut from = 0;
        for (name, length) in names.into_iter().zip(LENGTHS) {
            let grad = arena.grad_buffer(name)?;
            encoder.copy_buffer_to_buffer(source, from, grad.buffer(), grad.offset(), Some(length * 4));
            from += length * 4;
        }
        encoder.copy_buffer_to_buffer(source, from, &late_grad, 0, Some(500 * 4));
        adam.record_step(&mut encoder)?;
        if submit_each {
            gpu.queue.submit([encoder.finish()]);
            encoder = gpu.device.create_command_encoder(&Default::default());
        }
    }
    gpu.queue.submit([encoder.finish()]);

    let mut results = Vec::new();
    for (name, length) in names.into_iter().zip(LENGTHS) {
        results.push((name.to_owned(), read_tensor(gpu, &arena.param_buffer(name)?, length).await?));
    }
    results.push(("late".into(), read_f32(gpu, &late, 0, 500).await?));
    for group in adam.param_groups() {
        for &id in group.params() {
            let state = adam.state(id)?;
            let name = format!("{:?} at step {}", adam.param(id)?.name, state.step);
            for key in [Key::ExpAvg, Key::ExpAvgSq] {
                results.push((format!("{name} {key}"), read_state(gpu, &state, key).await?));
            }
        }
    }
    Ok(results)
}

async fn ten_steps(gpu: &Gpu) -> Result<()> {
    let one = changing_run(gpu, false).await?;
    let ten = changing_run(gpu, true).await?;
    ensure!(one.len() == 15, "{} results", one.len());
    for ((name, one), (also, ten)) in one.iter().zip(&ten) {
        ensure!(name == also, "{name} against {also}");
        ensure!(one.iter().any(|x| *x != 0.0), "{name} is all zeros");
        same_bits(name, one, ten)?;
    }
    Ok(())
}

async fn many_steps_in_one_encoder(gpu: &Gpu) -> Result<()> {
    let mut twin =
        Twin::new(gpu, vec![TwinTensor::alone(gpu, "a", 300)], AdamConfig { lr: 0.01, ..Default::default() })?;
    twin.write_grads();
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    for step in 0..300 {
        twin.adam.set_lr(0, 0.01 / f64::from(step + 1))?;
        twin.adam.record_step(&mut encoder)?;
        twin.step_reference()?;
    }
    gpu.queue.submit([encoder.finish()]);
    twin.check("one encoder").await
}

async fn steps_without_a_poll(gpu: &Gpu) -> Result<()> {
    let mut twin = Twin::new(gpu, vec![TwinTensor::alone(gpu, "a", 77)], AdamConfig::default())?;
    for step in 0..3000 {
        if step % 500 == 0 {
            twin.write_grads();
        }
        twin.adam.set_lr(0, 0.001 / f64::from(1 + step % 7))?;
        twin.adam.step()?;
        twin.step_reference()?;
    }
    twin.check("3000 steps").await
}

/// An encoder that is not submitted makes no step and returns its leases; the step still counts.
async fn dropped_encoders(gpu: &Gpu) -> Result<()> {
    let mut twin = Twin::new(gpu, vec![TwinTensor::alone(gpu, "a", 100)], AdamConfig::default())?;
    let before = read_tensor(gpu, &twin.tensors[0].param, 100).await?;
    twin.write_grads();
    for number in 0..100 {
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        twin.adam.record_step(&mut encoder)?;
        // Dropped once as an encoder and once as a command buffer.
        if number % 2 == 0 { drop(encoder) } else { drop(encoder.finish()) }
    }
    let after = read_tensor(gpu, &twin.tensors[0].param, 100).await?;
    same_bits("parameters after dropped encoders", &after, &before)?;
    let id = twin.id("a")?;
    ensure!(twin.adam.param(id)?.step == 100, "the count is {}", twin.adam.param(id)?.step);
    twin.tensors[0].reference.step = 100;
    twin.step()?;
    twin.check("the step after dropped encoders").await
}

/// Forward, backward and step are one submit. If the closure fails there is no submit, and the next step is correct.
async fn step_with(gpu: &Gpu) -> Result<()> {
    let mut twin = Twin::new(gpu, vec![TwinTensor::alone(gpu, "a", 50)], AdamConfig::default())?;
    let source = storage(gpu, 200);
    gpu.queue.write_buffer(&source, 0, bytemuck::cast_slice(&values(5, 50)));
    let grad = twin.tensors[0].grad.clone();
    let loss = twin.adam.step_with(|_, encoder| {
        encoder.copy_buffer_to_buffer(&source, 0, grad.buffer(), 0, Some(200));
        Ok(0.25)
    })?;
    ensure!(loss == 0.25, "the closure's value came back as {loss}");
    twin.tensors[0].grad_values = Some(values(5, 50));
    twin.step_reference()?;
    let refused = twin.adam.step_with(|adam, encoder| {
        encoder.clear_buffer(grad.buffer(), 0, None);
        adam.set_lr(7, 1.0)
    });
    ensure!(refused.is_err(), "an error of the closure was lost");
    twin.check("after a refused closure").await?;
    let kept = read_tensor(gpu, &grad, 50).await?;
    same_bits("the gradient after a refused closure", &kept, &values(5, 50))?;
    twin.step()?;
    twin.check("the step after that").await
}

async fn two_optimizers(gpu: &Gpu) -> Result<()> {
    let mut one = Twin::new(gpu, vec![TwinTensor::alone(gpu, "a", 65)], AdamConfig::default())?;
    let mut two = Twin::new(gpu, vec![TwinTensor::alone(gpu, "b", 66)], AdamConfig { lr: 0.1, ..AdamConfig::adamw() })?;
    one.write_grads();
    two.write_grads();
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    for _ in 0..3 {
        one.adam.record_step(&mut encoder)?;
        two.adam.record_step(&mut encoder)?;
        one.step_reference()?;
        two.step_reference()?;
    }
    gpu.queue.submit([encoder.finish()]);
    one.check("one").await?;
    two.check("two").await?;
    // The first optimizer is dropped before its commands are submitted.
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    one.adam.record_zero_grad(&mut encoder, ZeroGrad::SetToNone)?;
    two.adam.record_step(&mut encoder)?;
    two.step_reference()?;
    drop(one);
    gpu.queue.submit([encoder.finish()]);
    two.check("two, alone").await
}
