//! Models that grow and shrink during a run, while the host never reads their values.

use anyhow::{Context, Result, ensure};
use wgpu_adam::{AdamConfig, Moments, Param, ParamGroup, TensorArena, TensorBuffer};

use crate::{
    Body, Gpu, body,
    golden::Key,
    readback::read_state,
    reference::Reference,
    twin::{Twin, TwinTensor, storage},
    values::values,
};

pub const BODIES: &[(&str, Body)] = &[
    body!("surgery/pruned and grown 50 times in 500 steps", gpu => prune_and_grow(gpu)),
    body!("surgery/kept and cleared moments", gpu => keep_and_clear(gpu)),
    body!("surgery/removed", gpu => remove(gpu)),
    body!("surgery/reset", gpu => reset(gpu)),
    body!("surgery/replaced within one encoder", gpu => within_one_encoder(gpu)),
    body!("surgery/kept where old and new are cut in other places", gpu => cut_elsewhere(gpu)),
];

/// Rows of the old model that form the new one: the rows left after pruning, then copies of some rows.
fn rows(round: u64, old: u64) -> Vec<std::ops::Range<u64>> {
    let cut = old / 3 + round % 7;
    let dropped = old / 8 + round % 5;
    let copied = old / 9 + round * 3 % 11;
    vec![0..cut, (cut + dropped).min(old)..old, 0..copied.min(old)]
}

fn pick<T: Copy>(rows: &[std::ops::Range<u64>], width: u64, from: &[T]) -> Vec<T> {
    let part = |rows: &std::ops::Range<u64>| from[(rows.start * width) as usize..(rows.end * width) as usize].to_vec();
    rows.iter().flat_map(part).collect()
}

/// Like splats: three tensors with the same number of rows. Rows are dropped and copied together with their moments.
async fn prune_and_grow(gpu: &Gpu) -> Result<()> {
    const WIDTHS: [(&str, u64); 3] = [("position", 3), ("opacity", 1), ("color", 4)];
    let mut count = 200_u64;
    let arena = TensorArena::new(&gpu.device, WIDTHS.map(|(name, width)| (name, [(count * width) as usize])))?;
    let make = |(name, width): (&str, u64)| {
        Ok(TwinTensor::new(gpu, name, count * width, arena.param_buffer(name)?, arena.grad_buffer(name)?))
    };
    let tensors = WIDTHS.into_iter().map(make).collect::<Result<Vec<_>>>()?;
    let mut twin = Twin::new(gpu, tensors, AdamConfig { lr: 1e-3, amsgrad: true, ..Default::default() })?;
    for step in 0..500_u64 {
        if step % 10 == 5 {
            let kept = rows(step, count);
            count = kept.iter().map(|rows| rows.end - rows.start).sum();
            replace_rows(&mut twin, &kept, count, &WIDTHS)?;
        }
        twin.step()?;
    }
    ensure!(count != 200, "the model has neither grown nor shrunk");
    twin.check("after 50 changes").await?;
    for tensor in &twin.tensors {
        ensure!(tensor.reference.step == 500, "{}: {} steps", tensor.name, tensor.reference.step);
    }
    Ok(())
}

/// Copies rows of parameters and moments into a new arena and new buffers, which replace the old ones.
fn replace_rows(
    twin: &mut Twin<'_>,
    kept: &[std::ops::Range<u64>],
    count: u64,
    widths: &[(&'static str, u64)],
) -> Result<()> {
    let gpu = twin.gpu;
    let arena = TensorArena::new(&gpu.device, widths.iter().map(|(name, width)| (*name, [(count * width) as usize])))?;
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    let mut replacements = Vec::new();
    for (index, &(name, width)) in widths.iter().enumerate() {
        let id = twin.id(name)?;
        let state = twin.adam.state(id)?;
        let tensor = &mut twin.tensors[index];
        ensure!(state.pieces.len() == 1, "{name} is cut");
        let piece = &state.pieces[0];
        let mut gather = |from: &wgpu::Buffer, from_offset: u64, to: &TensorBuffer| {
            let mut end = to.offset();
            for rows in kept {
                let size = (rows.end - rows.start) * width * 4;
                let start = from_offset + rows.start * width * 4;
                encoder.copy_buffer_to_buffer(from, start, to.buffer(), end, Some(size));
                end += size;
            }
        };
        let param = arena.param_buffer(name)?;
        gather(tensor.param.buffer(), tensor.param.offset(), &param);
        let mut moment = |offset: u64| {
            let to = TensorBuffer::from(&storage(gpu, count * width * 4));
            gather(&piece.buffer, offset, &to);
            to
        };
        let moments = Moments::From {
            exp_avg: moment(piece.exp_avg),
            exp_avg_sq: moment(piece.exp_avg_sq),
            max_exp_avg_sq: piece.max_exp_avg_sq.map(&mut moment),
        };
        let (length, grad) = (count * width, arena.grad_buffer(name)?);
        replacements.push((id, Param::new(name, [length as usize], param.clone(), grad.clone()), moments));
        let old = &tensor.reference;
        tensor.reference = Reference {
            param: pick(kept, width, &old.param),
            exp_avg: pick(kept, width, &old.exp_avg),
            exp_avg_sq: pick(kept, width, &old.exp_avg_sq),
            max_exp_avg_sq: pick(kept, width, &old.max_exp_avg_sq),
            step: old.step,
        };
        tensor.initial = pick(kept, width, &tensor.initial);
        (tensor.length, tensor.param, tensor.grad) = (length, param, grad);
    }
    twin.adam.record_replace_params(&mut encoder, replacements)?;
    gpu.queue.submit([encoder.finish()]);
    Ok(())
}

/// Replaces a twin's tensor by a tensor of another length, on both sides.
fn replace(twin: &mut Twin<'_>, index: usize, length: u64, moments: Moments) -> Result<()> {
    let name = twin.tensors[index].name.clone();
    let id = twin.id(&name)?;
    let mut new = TwinTensor::alone(twin.gpu, &name, length);
    let old = &twin.tensors[index].reference;
    if moments == Moments::Keep {
        let resize = |moment: &[f64]| (0..length as usize).map(|i| moment.get(i).copied().unwrap_or(0.0)).collect();
        new.reference = Reference {
            param: new.reference.param,
            exp_avg: resize(&old.exp_avg),
            exp_avg_sq: resize(&old.exp_avg_sq),
            max_exp_avg_sq: resize(&old.max_exp_avg_sq),
            step: old.step,
        };
    }
    let mut encoder = twin.gpu.device.create_command_encoder(&Default::default());
    twin.adam.record_replace_param(&mut encoder, id, new.as_param(), moments)?;
    twin.gpu.queue.submit([encoder.finish()]);
    twin.tensors[index] = new;
    Ok(())
}

async fn keep_and_clear(gpu: &Gpu) -> Result<()> {
    for (case, moments) in [("kept", Moments::Keep), ("cleared", Moments::Clear)] {
        for length in [100_u64, 37, 301, 0, 1] {
            let tensors = vec![TwinTensor::alone(gpu, "a", 100), TwinTensor::alone(gpu, "b", 33)];
            let mut twin = Twin::new(gpu, tensors, AdamConfig { weight_decay: 0.1, ..Default::default() })?;
            twin.step()?;
            twin.step()?;
            replace(&mut twin, 0, length, moments.clone())?;
            twin.check(&format!("{case}, of length {length}")).await?;
            twin.step()?;
            twin.check(&format!("{case}, of length {length}, and stepped")).await?;
        }
    }
    Ok(())
}

async fn remove(gpu: &Gpu) -> Result<()> {
    let arena = TensorArena::new(&gpu.device, [("a", [70]), ("b", [5]), ("c", [64])])?;
    let make =
        |name, length| Ok(TwinTensor::new(gpu, name, length, arena.param_buffer(name)?, arena.grad_buffer(name)?));
    let tensors = [("a", 70), ("b", 5), ("c", 64)].map(|(name, length)| make(name, length));
    let mut twin = Twin::new(gpu, tensors.into_iter().collect::<Result<_>>()?, AdamConfig::default())?;
    twin.step()?;
    let b = twin.id("b")?;
    let removed = twin.tensors.remove(1);
    let before = crate::readback::read_tensor(gpu, &removed.param, 5).await?;
    twin.adam.remove_param(b)?;
    ensure!(twin.adam.param(b).is_err(), "the id of a removed parameter is valid");
    ensure!(twin.adam.param_groups()[0].params().len() == 2, "it is still in its group");
    twin.step()?;
    twin.check("without b").await?;
    let after = crate::readback::read_tensor(gpu, &removed.param, 5).await?;
    ensure!(before == after, "a removed parameter was stepped");
    // Its place and its name are free again.
    twin.adam.add_param_group(ParamGroup::new([removed.as_param()]).lr(0.1))?;
    let mut again = removed;
    again.reference = Reference::new(&after);
    twin.tensors.push(again);
    twin.step()?;
    twin.check("with b again").await
}

async fn reset(gpu: &Gpu) -> Result<()> {
    let tensors = vec![TwinTensor::alone(gpu, "a", 70), TwinTensor::alone(gpu, "b", 5)];
    let mut twin = Twin::new(gpu, tensors, AdamConfig { amsgrad: true, ..Default::default() })?;
    twin.step()?;
    twin.step()?;
    let id = twin.id("a")?;
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    twin.adam.record_reset_state(&mut encoder, id)?;
    gpu.queue.submit([encoder.finish()]);
    let fresh = Reference::new(&[0.0; 70]);
    let old = std::mem::replace(&mut twin.tensors[0].reference, fresh);
    twin.tensors[0].reference.param = old.param;
    twin.check("reset").await?;
    let max = read_state(gpu, &twin.adam.state(id)?, Key::MaxExpAvgSq).await?;
    ensure!(max.iter().all(|x| *x == 0.0), "max_exp_avg_sq is not reset");
    twin.step()?;
    twin.check("reset and stepped").await
}

/// Steps, a replacement and more steps in one encoder take effect in the order of recording.
async fn within_one_encoder(gpu: &Gpu) -> Result<()> {
    let mut twin = Twin::new(gpu, vec![TwinTensor::alone(gpu, "a", 50)], AdamConfig::default())?;
    twin.write_grads();
    let longer = TwinTensor::alone(gpu, "a", 80);
    let grad = values(77, 80);
    gpu.queue.write_buffer(longer.grad.buffer(), 0, bytemuck::cast_slice(&grad));
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    for _ in 0..3 {
        twin.adam.record_step(&mut encoder)?;
        twin.step_reference()?;
    }
    let old = twin.tensors.pop().context("no tensor")?;
    encoder.copy_buffer_to_buffer(old.param.buffer(), 0, longer.param.buffer(), 0, Some(200));
    let id = twin.id("a")?;
    twin.adam.record_replace_param(&mut encoder, id, longer.as_param(), Moments::Keep)?;
    let extend = |kept: &[f64], new: &[f64]| kept.iter().copied().chain(new[50..].iter().copied()).collect();
    let zeros = vec![0.0; 80];
    let reference = Reference {
        param: extend(&old.reference.param, &longer.reference.param),
        exp_avg: extend(&old.reference.exp_avg, &zeros),
        exp_avg_sq: extend(&old.reference.exp_avg_sq, &zeros),
        max_exp_avg_sq: zeros,
        step: 3,
    };
    twin.tensors.push(TwinTensor { reference, grad_values: Some(grad), ..longer });
    for _ in 0..3 {
        twin.adam.record_step(&mut encoder)?;
        twin.step_reference()?;
    }
    gpu.queue.submit([encoder.finish()]);
    twin.check("one encoder").await
}

/// Windows cut a tensor larger than a binding depending on its offset modulo a quad, so each new piece takes its
/// moments from several old pieces.
async fn cut_elsewhere(gpu: &Gpu) -> Result<()> {
    let small = gpu.small(crate::placing::small_workgroups(64 << 10)).await?;
    for (from, to) in
        [((0_u64, 40_000_u64), (3_u64, 40_000_u64)), ((3, 30_001), (0, 50_000)), ((1, 50_000), (2, 20_001))]
    {
        let case = format!("from {} elements at {} to {} at {}", from.1, from.0, to.1, to.0);
        let make = |(start, length): (u64, u64)| {
            let place = || TensorBuffer::from((&storage(&small, (start + length) * 4), start * 4));
            TwinTensor::new(&small, "a", length, place(), place())
        };
        let mut twin = Twin::new(&small, vec![make(from)], AdamConfig { amsgrad: true, ..Default::default() })?;
        twin.step()?;
        twin.step()?;
        let id = twin.id("a")?;
        let old = twin.adam.state(id)?;
        let mut new = make(to);
        let kept = |moment: &[f64]| (0..to.1 as usize).map(|i| moment.get(i).copied().unwrap_or(0.0)).collect();
        let reference = &twin.tensors[0].reference;
        new.reference = Reference {
            param: new.reference.param,
            exp_avg: kept(&reference.exp_avg),
            exp_avg_sq: kept(&reference.exp_avg_sq),
            max_exp_avg_sq: kept(&reference.max_exp_avg_sq),
            step: 2,
        };
        let mut encoder = small.device.create_command_encoder(&Default::default());
        twin.adam.record_replace_param(&mut encoder, id, new.as_param(), Moments::Keep)?;
        small.queue.submit([encoder.finish()]);
        twin.tensors[0] = new;
        let starts = |state: &wgpu_adam::ParamState| state.pieces.iter().map(|piece| piece.start).collect::<Vec<_>>();
        let (old, new) = (starts(&old), starts(&twin.adam.state(id)?));
        ensure!(old.len() > 2 && new.len() > 2 && old[1] != new[1], "{case}: cut at {old:?} and {new:?}");
        twin.check(&case).await?;
        twin.step()?;
        twin.check(&format!("{case}, and stepped")).await?;
    }
    small.check_errors()
}
