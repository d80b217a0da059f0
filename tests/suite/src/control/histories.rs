//! Step counts that only the device knows, of tensors that skipped different steps.

use anyhow::{Result, ensure};
use wgpu_adam::{GradientControl, LossScale, Moments, NormType};

use super::rig::Rig;
use crate::{
    Gpu,
    plain::{clip_factor, norm},
    reference::Reference,
    twin::{TwinTensor, storage},
};

const SKIP: GradientControl = GradientControl {
    max_norm: None,
    norm_type: NormType::Two,
    measure_norm: false,
    clip_value: None,
    skip_nonfinite: true,
    loss_scale: LossScale::None,
    accumulate: 1,
    zero_grad_after_step: false,
};

/// Steps both sides; the GPU skips the steps that overflow.
fn step(rig: &mut Rig<'_>, round: u64, overflow: Option<usize>) -> Result<()> {
    rig.write_grads(round, 1.0);
    if let Some(index) = overflow {
        rig.poke_grad(index, 0, f32::NAN);
    }
    rig.adam.step()?;
    if overflow.is_none() {
        rig.took(|grad| grad)?;
    }
    Ok(())
}

/// Neighbours in one arena with equal counts on the host and different counts on the device.
pub async fn differ(gpu: &Gpu) -> Result<()> {
    let mut rig = Rig::in_arena(gpu, &[64, 64, 64, 64], SKIP)?;
    // Which tensors have a gradient in each step, and whether it is skipped. From step 2 on the host has equal counts
    // for a1 and a2.
    let plan: [(&[&str], bool); 7] = [
        (&["a0", "a1", "a3"], false),
        (&["a0", "a2", "a3"], true),
        (&["a0", "a1", "a2", "a3"], false),
        (&["a1"], false),
        (&["a0", "a2", "a3"], true),
        (&["a0", "a1", "a2", "a3"], false),
        (&["a0", "a1", "a2", "a3"], false),
    ];
    for (round, (present, skipped)) in plan.into_iter().enumerate() {
        for name in ["a0", "a1", "a2", "a3"] {
            rig.set_grad(name, present.contains(&name))?;
        }
        let first = rig.index(present[0])?;
        step(&mut rig, round as u64, skipped.then_some(first))?;
        rig.check(&format!("after step {round}")).await?;
    }
    let steps: Vec<u64> = rig.adam.state_dict().await?.state.values().map(|entry| entry.step).collect();
    ensure!(steps == [4, 5, 3, 4], "steps {steps:?}");
    let host: Vec<u64> = ["a0", "a1", "a2", "a3"]
        .map(|name| Ok(rig.adam.param(rig.id(name)?)?.step))
        .into_iter()
        .collect::<Result<_>>()?;
    ensure!(host == [6, 5, 5, 6], "the host has counted {host:?}");
    Ok(())
}

/// Every control after every other, with overflows if they are skipped; then no control, with the counts as they are by
/// then.
pub async fn changes(gpu: &Gpu) -> Result<()> {
    let controls = [
        GradientControl::default(),
        GradientControl { max_norm: Some(0.4), ..Default::default() },
        SKIP,
        GradientControl { max_norm: Some(2.0), norm_type: NormType::Infinity, ..SKIP },
        GradientControl { loss_scale: LossScale::Fixed(8.0), ..Default::default() },
        GradientControl { loss_scale: LossScale::dynamic(), accumulate: 2, ..Default::default() },
        GradientControl { clip_value: Some(0.25), ..SKIP },
        GradientControl { loss_scale: LossScale::Fixed(32.0), max_norm: Some(1.0), ..SKIP },
    ];
    let mut rig = Rig::mixed(gpu, GradientControl::default())?;
    let mut round = 0;
    for first in controls {
        for control in [first].into_iter().chain(controls) {
            rig.adam.set_gradient_control(control)?;
            ensure!(*rig.adam.gradient_control() == control, "the stored control differs from the given one");
            let dynamic = matches!(control.loss_scale, LossScale::Dynamic { .. });
            round += 1;
            // A dynamic scale starts again from its initial value after another control was set in between.
            if (control.skip_nonfinite || dynamic) && round % 3 == 0 {
                rig.write_grads(round, 1.0);
                rig.poke_grad((round % 5) as usize, 0, f32::INFINITY);
                rig.adam.step()?;
                let told = rig.adam.statistics().await?;
                ensure!(told.found_inf, "round {round}: {told:?}");
            }
            let scale = match control.loss_scale {
                LossScale::None => 1.0,
                LossScale::Fixed(scale) => scale,
                LossScale::Dynamic { .. } => {
                    let buffer = rig.adam.loss_scale_buffer().cloned();
                    let buffer = buffer.ok_or_else(|| anyhow::anyhow!("no buffer of the loss scale"))?;
                    crate::readback::read_f32(gpu, &buffer, 0, 1).await?[0].into()
                }
                other => anyhow::bail!("{other:?} is not among the controls"),
            };
            rig.write_grads(1000 + round, scale as f32);
            rig.adam.step()?;
            let multiplier = 1.0 / (scale * f64::from(control.accumulate));
            let size = norm(rig.grads(), control.norm_type) * multiplier;
            let factor = control.max_norm.map_or(1.0, |bound| clip_factor(size, bound));
            let most = control.clip_value.unwrap_or(f64::INFINITY);
            rig.took(|grad| (grad * multiplier * factor).clamp(-most, most))?;
        }
        rig.check(&format!("after the changes from {first:?}")).await?;
    }
    rig.adam.set_gradient_control(GradientControl::default())?;
    for _ in 0..3 {
        step(&mut rig, round, None)?;
        round += 1;
    }
    rig.check("without control again").await
}

/// Tensors are added, removed, replaced and reset, and state is loaded, between skipped steps.
pub async fn surgery(gpu: &Gpu) -> Result<()> {
    let mut rig = Rig::mixed(gpu, SKIP)?;
    let mut round = 0;
    let mut go = |rig: &mut Rig<'_>| {
        for overflow in [None, Some(4), None] {
            round += 1;
            step(rig, round, overflow)?;
        }
        anyhow::Ok(())
    };
    go(&mut rig)?;
    rig.check("at first").await?;

    rig.add(TwinTensor::alone(gpu, "added", 100))?;
    go(&mut rig)?;
    rig.check("a tensor added").await?;

    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    let id = rig.id("a3")?;
    rig.adam.record_reset_state(&mut encoder, id)?;
    gpu.queue.submit([encoder.finish()]);
    let index = rig.index("a3")?;
    let param: Vec<f32> = rig.tensors[index].reference.param.iter().map(|&x| x as f32).collect();
    // The parameter keeps its value, apart from the reference's rounding.
    let kept = rig.tensors[index].reference.param.clone();
    rig.tensors[index].reference = Reference { param: kept, ..Reference::new(&param) };
    go(&mut rig)?;
    rig.check("state reset").await?;

    // A tensor that takes the place of another counts from zero, whichever number it gets.
    let gone = rig.id("alone of 5")?;
    rig.adam.remove_param(gone)?;
    let index = rig.index("alone of 5")?;
    rig.forget(index);
    rig.add(TwinTensor::alone(gpu, "in its place", 33))?;
    go(&mut rig)?;
    rig.check("a tensor removed, another added").await?;

    for (what, moments, from_zero) in [("kept", Moments::Keep, false), ("cleared", Moments::Clear, true)] {
        let name = "alone of 300";
        let (id, index) = (rig.id(name)?, rig.index(name)?);
        let old = &rig.tensors[index];
        let (param, grad) = (storage(gpu, old.length * 4), storage(gpu, old.length * 4));
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(old.param.buffer(), 0, &param, 0, Some(old.length * 4));
        let new = wgpu_adam::Param::new(name, [old.length as usize], &param, &grad);
        rig.adam.record_replace_param(&mut encoder, id, new, moments)?;
        gpu.queue.submit([encoder.finish()]);
        let tensor = &mut rig.tensors[index];
        (tensor.param, tensor.grad) = ((&param).into(), (&grad).into());
        if from_zero {
            let param: Vec<f32> = tensor.reference.param.iter().map(|&x| x as f32).collect();
            let kept = tensor.reference.param.clone();
            tensor.reference = Reference { param: kept, ..Reference::new(&param) };
        }
        go(&mut rig)?;
        rig.check(&format!("replaced, moments {what}")).await?;
    }

    // The saved state has the device's counts, and loading continues from them.
    let dict = rig.adam.state_dict().await?;
    let saved: Vec<Reference> = rig.tensors.iter().map(|tensor| tensor.reference.clone()).collect();
    go(&mut rig)?;
    rig.check("before loading").await?;
    rig.adam.load_state_dict(&dict).await?;
    for (tensor, saved) in rig.tensors.iter_mut().zip(saved) {
        tensor.reference = Reference { param: tensor.reference.param.clone(), ..saved };
    }
    rig.check("loaded").await?;
    go(&mut rig)?;
    rig.check("after loading").await
}

/// A tensor replaced with its moments keeps its skipped steps, and does not get those of a neighbour with the same
/// count.
pub async fn replaced(gpu: &Gpu) -> Result<()> {
    for (case, given) in [("kept", false), ("given", true)] {
        let mut rig = Rig::in_arena(gpu, &[64, 64], SKIP)?;
        // Both have stepped twice according to the host; one of a0's two steps is skipped.
        let plan: [(&[&str], bool); 3] = [(&["a0", "a1"], false), (&["a0"], true), (&["a1"], false)];
        for (round, (present, skipped)) in plan.into_iter().enumerate() {
            for name in ["a0", "a1"] {
                rig.set_grad(name, present.contains(&name))?;
            }
            step(&mut rig, round as u64, skipped.then_some(0))?;
        }
        rig.set_grad("a0", true)?;
        let (id, index) = (rig.id("a1")?, rig.index("a1")?);
        let tensor = &rig.tensors[index];
        let new = wgpu_adam::Param::new("a1", [64], tensor.param.clone(), tensor.grad.clone());
        let mut moments = Moments::Keep;
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        if given {
            let piece = rig.adam.state(id)?.pieces[0].clone();
            let copy = |encoder: &mut wgpu::CommandEncoder, offset| {
                let to = storage(gpu, 64 * 4);
                encoder.copy_buffer_to_buffer(&piece.buffer, offset, &to, 0, Some(64 * 4));
                wgpu_adam::TensorBuffer::from(&to)
            };
            let (exp_avg, exp_avg_sq) = (copy(&mut encoder, piece.exp_avg), copy(&mut encoder, piece.exp_avg_sq));
            moments = Moments::From { exp_avg, exp_avg_sq, max_exp_avg_sq: None };
        }
        rig.adam.record_replace_param(&mut encoder, id, new, moments)?;
        gpu.queue.submit([encoder.finish()]);
        for round in 10..12 {
            step(&mut rig, round, None)?;
            rig.check(&format!("moments {case}, step {round}")).await?;
        }
    }
    Ok(())
}

/// The encoder that should reset a state is never submitted: the moments stay, and steps continue from them and count
/// from 1.
pub async fn dropped_reset(gpu: &Gpu) -> Result<()> {
    let mut rig = Rig::in_arena(gpu, &[64, 9], SKIP)?;
    for (round, overflow) in [None, Some(0), Some(1), None].into_iter().enumerate() {
        step(&mut rig, round as u64, overflow)?;
    }
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    for name in ["a0", "a1"] {
        let id = rig.id(name)?;
        rig.adam.record_reset_state(&mut encoder, id)?;
    }
    drop(encoder);
    // The host counts from 0 again, while the device still has two skipped steps: of four steps only the last one
    // counts.
    for (round, before) in (10..).zip([0, 0, 0, 1]) {
        for tensor in &mut rig.tensors {
            tensor.reference.step = before;
        }
        step(&mut rig, round, None)?;
        let params = rig.bits().await?;
        for tensor in &rig.tensors {
            let got = params.param(&tensor.name)?;
            crate::twin::compare(&format!("step {round}: {}", tensor.name), &got, &tensor.reference.param, |_, _| {
                1e-5
            })?;
        }
    }
    Ok(())
}

/// Tensors without elements are skipped together with others, and alone.
pub async fn empty(gpu: &Gpu) -> Result<()> {
    for (case, lengths) in [("alone", &[0_u64, 0][..]), ("with another", &[0, 3])] {
        let mut rig = Rig::alone(gpu, lengths, SKIP)?;
        let found_inf = storage(gpu, 4);
        rig.adam.set_found_inf((&found_inf, 0))?;
        for (round, skipped) in [false, true, true, false].into_iter().enumerate() {
            rig.write_grads(round as u64, 1.0);
            gpu.queue.write_buffer(&found_inf, 0, bytemuck::bytes_of(&f32::from(u8::from(skipped))));
            rig.adam.step()?;
        }
        let steps: Vec<u64> = rig.adam.state_dict().await?.state.values().map(|entry| entry.step).collect();
        ensure!(steps == [2, 2], "{case}: steps {steps:?}");
        let told = rig.adam.statistics().await?;
        ensure!((told.step, told.steps_taken, told.steps_skipped) == (4, 2, 2), "{case}: {told:?}");
    }
    // Without a gradient there is nothing to decide: no step, no statistics, and no change of the scale.
    let mut rig = Rig::alone(gpu, &[3], GradientControl { loss_scale: LossScale::dynamic(), ..SKIP })?;
    rig.write_grads(1, 1.0);
    rig.adam.step()?;
    let before = rig.adam.statistics().await?;
    rig.set_grad("t0", false)?;
    rig.adam.step()?;
    let after = rig.adam.statistics().await?;
    ensure!(before == after && after.growth_tracker == 1, "without gradients: {after:?} instead of {before:?}");
    Ok(())
}

/// More groups, each with options of its own, than a workgroup has invocations: every one is stepped with its own, and
/// every one is skipped.
pub async fn many_groups(gpu: &Gpu) -> Result<()> {
    const GROUPS: usize = 600;
    let tensors = crate::control::rig::arena(gpu, &[3; GROUPS])?;
    let groups = tensors.into_iter().map(|tensor| (vec![tensor], (|group| group) as super::rig::Options));
    let mut rig = Rig::new(gpu, groups.collect(), SKIP)?;
    for group in 0..GROUPS {
        rig.adam.set_lr(group, 0.01 + 1e-4 * group as f64)?;
    }
    for (round, overflow) in (0..).zip([None, Some(GROUPS - 1), None, Some(0), None]) {
        step(&mut rig, round, overflow)?;
        rig.check(&format!("after step {round}")).await?;
    }
    Ok(())
}

/// An eps so small that its correction is denormal, as it is in the first steps: where gradients are zero, zero is divided
/// by it, and by nothing if it were flushed to zero.
pub async fn smallest_eps(gpu: &Gpu) -> Result<()> {
    let mut rig = Rig::in_arena(gpu, &[66, 257], SKIP)?;
    rig.adam.set_eps(0, 2e-38)?;
    let before = rig.bits().await?;
    for _ in 0..3 {
        for (index, length) in [66, 257].into_iter().enumerate() {
            rig.write_grad(index, vec![0.0; length]);
        }
        rig.adam.step()?;
    }
    let after = rig.bits().await?;
    for name in ["a0", "a1"] {
        crate::twin::same_bits(name, &after.param(name)?, &before.param(name)?)?;
    }
    Ok(())
}

/// Skipping is given up in the first steps, where one step more or less makes a great difference: those that were skipped
/// stay uncounted.
pub async fn given_up(gpu: &Gpu) -> Result<()> {
    let clip = GradientControl { max_norm: Some(0.5), ..Default::default() };
    for control in [GradientControl::default(), clip, GradientControl { loss_scale: LossScale::Fixed(2.0), ..SKIP }] {
        let mut rig = Rig::in_arena(gpu, &[66, 3], SKIP)?;
        for round in 0..4 {
            step(&mut rig, round, (round != 1).then_some(0))?;
        }
        rig.adam.set_gradient_control(control)?;
        for round in 4..8 {
            rig.write_grads(round, 1.0);
            let scale = if let LossScale::Fixed(scale) = control.loss_scale { scale } else { 1.0 };
            let factor = control.max_norm.map_or(1.0, |bound| clip_factor(norm(rig.grads(), NormType::Two), bound));
            rig.adam.step()?;
            rig.took(|grad| grad * factor / scale)?;
            rig.check(&format!("{control:?}, step {round}")).await?;
        }
    }
    Ok(())
}
