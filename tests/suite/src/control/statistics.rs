//! Statistics of steps, which arrive later and without waiting.

use anyhow::{Context, Result, ensure};
use wgpu_adam::{GradientControl, LossScale};

use super::rig::Rig;
use crate::Gpu;

const CLIP: GradientControl = GradientControl {
    max_norm: Some(0.5),
    norm_type: wgpu_adam::NormType::Two,
    measure_norm: false,
    clip_value: None,
    skip_nonfinite: true,
    loss_scale: LossScale::None,
    accumulate: 1,
    zero_grad_after_step: false,
};

/// Runs callbacks that are due; a browser does so by itself.
fn poll(gpu: &Gpu) -> Result<()> {
    if cfg!(not(target_family = "wasm")) {
        gpu.device.poll(wgpu::PollType::wait_indefinitely()).context("polling")?;
    }
    Ok(())
}

/// The latest statistics that arrived, and the awaited ones of the last step.
pub async fn told(gpu: &Gpu) -> Result<()> {
    let mut rig = Rig::mixed(gpu, CLIP)?;
    ensure!(rig.adam.latest_statistics().is_none(), "statistics before the first step");
    ensure!(rig.adam.statistics().await.is_err(), "waiting for statistics of no step");
    let mut last = 0;
    for step in 1..=40_u64 {
        rig.write_grads(step, 1.0);
        let overflows = step % 7 == 0;
        if overflows {
            rig.poke_grad(0, 0, f32::NAN);
        }
        rig.adam.step()?;
        // In some steps nobody polls.
        if step % 10 > 3 {
            let waited = rig.adam.statistics().await?;
            ensure!(waited.step == step && waited.found_inf == overflows, "step {step}: {waited:?}");
            ensure!(
                waited.steps_taken + waited.steps_skipped == step && waited.steps_skipped == step / 7,
                "{waited:?}"
            );
            ensure!(waited.loss_scale == 1.0, "step {step}: {waited:?}");
            poll(gpu)?;
            let latest = rig.adam.latest_statistics().with_context(|| format!("none after step {step}"))?;
            ensure!(latest.step >= last && latest.step <= step, "{} after {last}, at {step}", latest.step);
            last = latest.step;
            if latest.step == step {
                // Compared as text, because a NaN norm does not equal itself.
                let same = format!("{latest:?}") == format!("{waited:?}");
                ensure!(same, "{latest:?} is the latest, {waited:?} was waited for");
            }
        }
    }
    ensure!(last >= 30, "the latest statistics are those of step {last} of 40");

    // Statistics are copied at the request: later steps do not change them.
    rig.write_grads(99, 1.0);
    rig.adam.step()?;
    let of_41 = rig.adam.statistics();
    rig.adam.step()?;
    let of_42 = rig.adam.statistics();
    let steps = (of_41.await?.step, of_42.await?.step);
    ensure!(steps == (41, 42), "{steps:?}");
    Ok(())
}

/// Hundreds of steps in one encoder and without a poll: nothing waits or fails, and later steps are reported.
pub async fn unread(gpu: &Gpu) -> Result<()> {
    let mut rig = Rig::in_arena(gpu, &[100, 3], CLIP)?;
    rig.write_grads(1, 1.0);
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    for _ in 0..300 {
        rig.adam.record_step(&mut encoder)?;
    }
    gpu.queue.submit([encoder.finish()]);
    for _ in 0..500 {
        rig.adam.step()?;
    }
    // Encoders that are dropped, either before or after `finish`.
    for number in 0..40 {
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        rig.adam.record_step(&mut encoder)?;
        if number % 2 == 0 { drop(encoder) } else { drop(encoder.finish()) }
    }
    gpu.check_errors()?;
    poll(gpu)?;
    let waited = rig.adam.statistics().await?;
    ensure!(waited.step == 800 && waited.steps_taken == 800, "{waited:?}");
    // The buffers were returned, so statistics of further steps arrive.
    rig.adam.step()?;
    poll(gpu)?;
    rig.adam.step()?;
    rig.adam.statistics().await?;
    poll(gpu)?;
    let latest = rig.adam.latest_statistics().context("no statistics")?;
    ensure!(latest.step > 840, "the latest are those of step {}", latest.step);
    Ok(())
}

/// Counts of steps go on past what 32 bits hold. Nobody waits for as many steps: the device's own count is written, as no
/// application may.
pub async fn past_32_bits(gpu: &Gpu) -> Result<()> {
    let mut rig = Rig::in_arena(gpu, &[66, 3], CLIP)?;
    rig.write_grads(1, 1.0);
    rig.adam.step()?;
    let state = rig.adam.loss_scale_buffer().context("no buffer of the loss scale")?;
    let (taken, skipped) = ((5_u64 << 32) - 1, (9_u64 << 32) - 1);
    // In the order of the state in control.wgsl: steps taken and steps skipped are its last 16 bytes.
    gpu.queue.write_buffer(state, state.size() - 16, bytemuck::cast_slice(&[taken, skipped]));
    for overflows in [false, true, false, true] {
        rig.poke_grad(0, 5, if overflows { f32::INFINITY } else { 0.5 });
        rig.adam.step()?;
    }
    let told = rig.adam.statistics().await?;
    ensure!((told.steps_taken, told.steps_skipped) == (taken + 2, skipped + 2), "{told:?}");
    Ok(())
}

/// Without control there is nothing: no dispatch, no buffer, no statistics.
pub async fn none(gpu: &Gpu) -> Result<()> {
    let mut rig = Rig::mixed(gpu, GradientControl::default())?;
    for round in 0..3 {
        rig.write_grads(round, 1.0);
        rig.adam.step()?;
        rig.took(|grad| grad)?;
    }
    poll(gpu)?;
    ensure!(rig.adam.latest_statistics().is_none(), "statistics without gradient control");
    ensure!(rig.adam.loss_scale_buffer().is_none(), "a loss scale without gradient control");
    ensure!(rig.adam.statistics().await.is_err(), "statistics without gradient control, waited for");
    rig.check("no control").await
}
