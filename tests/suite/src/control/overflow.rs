//! Gradients that are not finite, at any place: the step is skipped and leaves no trace.

use anyhow::{Result, ensure};
use wgpu_adam::{GradientControl, LossScale, NormType};

use super::rig::Rig;
use crate::{
    Gpu,
    twin::{same_bits, storage},
};

/// Quiet, signalling and negative NaN, and the infinities.
const SPECIALS: [u32; 5] = [0x7fc0_0000, 0x7f80_0001, 0xffff_ffff, 0x7f80_0000, 0xff80_0000];

/// The first, last and middle element, and one of the last quad or of its remainder; without repeats.
fn places(length: u64) -> Vec<u64> {
    let tail = (length - 1) / 4 * 4;
    let mut places = vec![0, length - 1, length / 2, tail];
    places.sort_unstable();
    places.dedup();
    places
}

pub async fn anywhere(gpu: &Gpu) -> Result<()> {
    let skip = GradientControl { skip_nonfinite: true, ..Default::default() };
    let clip = GradientControl { max_norm: Some(0.5), ..skip };
    let both = GradientControl { norm_type: NormType::Infinity, loss_scale: LossScale::Fixed(256.0), ..clip };
    for (name, control) in [("skipping", skip), ("clipping", clip), ("scaling", both)] {
        let mut rig = Rig::mixed(gpu, control)?;
        let mut partner = Rig::mixed(gpu, control)?;
        let mut skipped = 0;
        for index in 0..rig.tensors.len() {
            let (tensor, length) = (rig.tensors[index].name.clone(), rig.tensors[index].length);
            if length == 0 || rig.tensors[index].grad_values.is_none() {
                continue;
            }
            // A step without overflow on both, before the first skipped step and after it.
            for rig in [&mut rig, &mut partner] {
                rig.write_grads(index as u64, 1.0);
                rig.adam.step()?;
            }
            let before = rig.bits().await?;
            before.same(&format!("{name}: the step before {tensor}"), &partner.bits().await?)?;
            for place in places(length) {
                for special in SPECIALS {
                    let case = format!("{name}: {special:#010x} at {place} of {tensor}");
                    rig.poke_grad(index, place, f32::from_bits(special));
                    rig.adam.step()?;
                    skipped += 1;
                    let told = rig.adam.statistics().await?;
                    ensure!(told.found_inf && told.steps_skipped == skipped, "{case}: {told:?}");
                    ensure!(!told.grad_norm.is_finite(), "{case}: norm {}", told.grad_norm);
                    rig.bits().await?.same(&case, &before)?;
                }
                let healed = rig.tensors[index].grad_values.as_ref().map_or(0.0, |grad| grad[place as usize]);
                rig.poke_grad(index, place, healed);
            }
            rig.grads_untouched(name).await?;
        }
        let told = rig.adam.statistics().await?;
        ensure!(skipped > 150 && told.steps_taken == 11, "{name}: {skipped} skipped, {told:?}");
        for rig in [&mut rig, &mut partner] {
            rig.write_grads(99, 1.0);
            rig.adam.step()?;
        }
        rig.bits().await?.same(&format!("{name}: the last step"), &partner.bits().await?)?;
    }
    Ok(())
}

/// The largest numbers, the smallest, and zeros of both signs are all finite.
pub async fn none(gpu: &Gpu) -> Result<()> {
    let control = GradientControl { skip_nonfinite: true, ..Default::default() };
    for (number, value) in [f32::MAX, -f32::MAX, f32::MIN_POSITIVE, 1e-45, -1e-45, 0.0, -0.0].into_iter().enumerate() {
        let mut rig = Rig::alone(gpu, &[9, 260], control)?;
        rig.write_grad(0, (0..9).map(|i| if i == 7 { value } else { 0.0 }).collect());
        rig.write_grad(1, vec![0.0; 260]);
        rig.adam.step()?;
        let told = rig.adam.statistics().await?;
        ensure!(!told.found_inf && told.steps_taken == 1 && told.steps_skipped == 0, "{value:e}: {told:?}");
        let want = value.abs();
        let flushed = want < f32::MIN_POSITIVE && told.grad_norm == 0.0;
        let off = f64::from((told.grad_norm - want).abs()) <= 5e-7 * f64::from(want) + 1.5e-45;
        ensure!(flushed || off, "{value:e}: norm {:e}", told.grad_norm);
        let steps = rig.adam.state_dict().await?.state.values().map(|entry| entry.step).collect::<Vec<_>>();
        ensure!(steps == [1, 1], "case {number}: steps {steps:?}");
    }
    Ok(())
}

/// If steps are not skipped, clipping with a NaN makes all gradients NaN, as in torch, and an infinite gradient makes
/// the finite ones zero.
pub async fn unskipped(gpu: &Gpu) -> Result<()> {
    let control = GradientControl { max_norm: Some(1.0), ..Default::default() };
    for (special, rest_is_nan) in [(f32::NAN, true), (f32::INFINITY, false), (f32::NEG_INFINITY, false)] {
        let mut rig = Rig::alone(gpu, &[70, 5], control)?;
        rig.write_grads(1, 1.0);
        rig.poke_grad(1, 2, special);
        rig.adam.step()?;
        let told = rig.adam.statistics().await?;
        ensure!(told.found_inf && told.steps_taken == 1 && told.steps_skipped == 0, "{special}: {told:?}");
        let dict = rig.adam.state_dict().await?;
        for (id, entry) in &dict.state {
            ensure!(entry.step == 1, "{special}: step {}", entry.step);
            for (i, &x) in entry.exp_avg.iter().enumerate() {
                let itself = *id == 1 && i == 2;
                let right = if rest_is_nan || itself { x.is_nan() } else { x == 0.0 };
                ensure!(right, "{special}: exp_avg {id} [{i}] is {x}");
            }
        }
    }
    Ok(())
}

/// An external buffer decides. A step reads the value that commands recorded before the step wrote, not the value that
/// later commands write.
pub async fn told(gpu: &Gpu) -> Result<()> {
    let outside = storage(gpu, 64);
    let says = |encoder: &mut wgpu::CommandEncoder, words: &wgpu::Buffer, index: u64| {
        encoder.copy_buffer_to_buffer(words, index * 4, &outside, 20, Some(4));
    };
    // Any value except zero skips the step.
    let words = [0.0, 1.0, 0.0, 2.0, f32::NAN, -0.0, -1.0, f32::INFINITY, 0.0];
    let source = storage(gpu, 64);
    gpu.queue.write_buffer(&source, 0, bytemuck::cast_slice(&words));
    for (name, control) in [
        ("alone", GradientControl::default()),
        ("clipping", GradientControl { max_norm: Some(0.5), ..Default::default() }),
        ("skipping", GradientControl { skip_nonfinite: true, ..Default::default() }),
    ] {
        let mut rig = Rig::mixed(gpu, control)?;
        let mut partner = Rig::mixed(gpu, control)?;
        for rig in [&mut rig, &mut partner] {
            rig.adam.set_found_inf((&outside, 20))?;
            rig.write_grads(1, 1.0);
        }
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        for index in 0..words.len() as u64 {
            says(&mut encoder, &source, index);
            rig.adam.record_step(&mut encoder)?;
        }
        gpu.queue.submit([encoder.finish()]);
        let told = rig.adam.statistics().await?;
        ensure!((told.steps_taken, told.steps_skipped) == (4, 5), "{name}: {told:?}");
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        for _ in 0..4 {
            says(&mut encoder, &source, 0);
            partner.adam.record_step(&mut encoder)?;
        }
        gpu.queue.submit([encoder.finish()]);
        rig.bits().await?.same(name, &partner.bits().await?)?;

        // After `set_found_inf(None)` the buffer's content no longer matters.
        gpu.queue.write_buffer(&outside, 20, bytemuck::bytes_of(&1.0_f32));
        for rig in [&mut rig, &mut partner] {
            rig.adam.set_found_inf_to_none()?;
            rig.write_grads(2, 1.0);
            rig.adam.step()?;
        }
        rig.bits().await?.same(&format!("{name}: without"), &partner.bits().await?)?;
        let steps: Vec<u64> = rig.adam.state_dict().await?.state.values().map(|entry| entry.step).collect();
        ensure!(!steps.is_empty() && steps.iter().all(|&step| step == 5), "{name}: steps {steps:?}");
    }
    let unread = crate::readback::read_f32(gpu, &outside, 20, 1).await?;
    same_bits("what was told", &unread, &[1.0])
}
