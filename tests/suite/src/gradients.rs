//! Gradients that are filled with zeros, removed, and set again.

use anyhow::{Result, ensure};
use wgpu_adam::{AdamConfig, TensorArena, TensorBuffer, ZeroGrad};

use crate::{
    Body, Gpu, body,
    readback::read_f32,
    twin::{Twin, TwinTensor, same_bits, storage},
};

pub const BODIES: &[(&str, Body)] = &[
    body!("gradients/fill", gpu => fill(gpu)),
    body!("gradients/fill clears nothing else", gpu => fill_exactly(gpu)),
    body!("gradients/set to none and back", gpu => set_to_none(gpu)),
    body!("gradients/another buffer", gpu => another_buffer(gpu)),
];

fn three(gpu: &Gpu) -> Result<(TensorArena, Vec<TwinTensor>)> {
    let arena = TensorArena::new(&gpu.device, [("a", [100]), ("b", [7]), ("c", [65])])?;
    let tensors = [("a", 100), ("b", 7), ("c", 65)].map(|(name, length)| {
        Ok(TwinTensor::new(gpu, name, length, arena.param_buffer(name)?, arena.grad_buffer(name)?))
    });
    let tensors = tensors.into_iter().collect::<Result<_>>()?;
    Ok((arena, tensors))
}

/// A step with zero gradients counts, decays the weights and moves on by the moments.
async fn fill(gpu: &Gpu) -> Result<()> {
    let (_, tensors) = three(gpu)?;
    let mut twin = Twin::new(gpu, tensors, AdamConfig { weight_decay: 0.1, ..Default::default() })?;
    twin.step()?;
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    twin.adam.record_zero_grad(&mut encoder, ZeroGrad::Fill)?;
    for tensor in &mut twin.tensors {
        tensor.grad_values = Some(vec![0.0; tensor.length as usize]);
    }
    twin.adam.record_step(&mut encoder)?;
    twin.step_reference()?;
    gpu.queue.submit([encoder.finish()]);
    twin.check("a step on zeros").await
}

async fn fill_exactly(gpu: &Gpu) -> Result<()> {
    let (params, grads) = (storage(gpu, 400), storage(gpu, 400));
    let at = |buffer: &wgpu::Buffer, start: u64| TensorBuffer::from((buffer, start * 4));
    let tensor = |name, length, start| TwinTensor::new(gpu, name, length, at(&params, start), at(&grads, start));
    let twin = Twin::new(gpu, vec![tensor("a", 5, 3), tensor("b", 10, 8), tensor("c", 1, 50)], AdamConfig::default());
    let mut twin = twin?;
    gpu.queue.write_buffer(&grads, 0, bytemuck::cast_slice(&[1.0_f32; 100]));
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    twin.adam.record_zero_grad(&mut encoder, ZeroGrad::Fill)?;
    gpu.queue.submit([encoder.finish()]);
    let got = read_f32(gpu, &grads, 0, 100).await?;
    let want: Vec<f32> = (0..100).map(|i| if (3..18).contains(&i) || i == 50 { 0.0 } else { 1.0 }).collect();
    same_bits("gradients", &got, &want)
}

/// As in torch, a step does not touch a parameter without a gradient.
async fn set_to_none(gpu: &Gpu) -> Result<()> {
    let (arena, tensors) = three(gpu)?;
    let mut twin = Twin::new(gpu, tensors, AdamConfig { weight_decay: 0.1, ..Default::default() })?;
    twin.step()?;
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    twin.adam.record_zero_grad(&mut encoder, ZeroGrad::SetToNone)?;
    for tensor in &mut twin.tensors {
        tensor.grad_values = None;
    }
    twin.adam.record_step(&mut encoder)?;
    twin.step_reference()?;
    gpu.queue.submit([encoder.finish()]);
    twin.check("no gradients").await?;
    twin.give_grad(1)?;
    twin.step()?;
    twin.check("one gradient").await?;
    twin.give_grad(0)?;
    twin.give_grad(2)?;
    twin.step()?;
    twin.check("all gradients").await?;
    let (id, missing) = (twin.id("b")?, twin.id("a")?);
    ensure!(twin.adam.param(id)?.step == 3 && twin.adam.param(missing)?.step == 2, "counts are each parameter's own");
    drop(arena);
    Ok(())
}

async fn another_buffer(gpu: &Gpu) -> Result<()> {
    let (_, tensors) = three(gpu)?;
    let mut twin = Twin::new(gpu, tensors, AdamConfig::default())?;
    twin.step()?;
    for (round, offset) in [4_u64, 12, 0, 256].into_iter().enumerate() {
        let grad = TensorBuffer::from((&storage(gpu, 4096), offset));
        let id = twin.id("a")?;
        twin.adam.set_grad(id, grad.clone())?;
        twin.tensors[0].grad = grad;
        twin.step()?;
        twin.check(&format!("buffer {round} at {offset}")).await?;
    }
    Ok(())
}
