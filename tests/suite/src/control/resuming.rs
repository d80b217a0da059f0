//! The dynamic loss scale in state dicts and checkpoints.

use anyhow::{Context, Result, ensure};
use wgpu_adam::{
    Checkpoint, CheckpointContents, CheckpointError, Error, GradScalerState, GradientControl, LoadOptions, LossScale,
    StateDict, WgpuAdam,
};

use super::rig::Rig;
use crate::{Gpu, readback::read_f32};

const INIT: f64 = 1000.0;
const DYNAMIC: GradientControl = GradientControl {
    max_norm: None,
    norm_type: wgpu_adam::NormType::Two,
    measure_norm: false,
    clip_value: None,
    skip_nonfinite: false,
    loss_scale: LossScale::Dynamic { init_scale: INIT, growth_factor: 1.5, backoff_factor: 0.375, growth_interval: 3 },
    accumulate: 1,
    zero_grad_after_step: false,
};

/// The same numbers as in the control above.
const FRESH: GradScalerState =
    GradScalerState { scale: INIT, growth_factor: 1.5, backoff_factor: 0.375, growth_interval: 3, growth_tracker: 0 };

fn rig(gpu: &Gpu, control: GradientControl) -> Result<Rig<'_>> {
    Rig::in_arena(gpu, &[100, 3], control)
}

/// A step, which is skipped if it overflows.
fn step(rig: &mut Rig<'_>, overflows: bool) -> Result<()> {
    rig.write_grads(1, 100.0);
    if overflows {
        rig.poke_grad(1, 2, f32::INFINITY);
    }
    rig.adam.step()?;
    Ok(())
}

async fn scaler(adam: &WgpuAdam) -> Result<GradScalerState> {
    adam.state_dict().await?.grad_scaler.context("no scale in the dict")
}

/// The scale that a backward pass would read.
async fn bound(rig: &Rig<'_>) -> Result<f64> {
    let buffer = rig.adam.loss_scale_buffer().context("no buffer of the loss scale")?;
    Ok(read_f32(rig.gpu, buffer, 0, 1).await?[0].into())
}

/// Saves a scale, and loads it in three situations: a dynamic scale is set, one is set later, none is set.
pub async fn dicts(gpu: &Gpu) -> Result<()> {
    let mut first = rig(gpu, DYNAMIC)?;
    ensure!(scaler(&first.adam).await? == FRESH, "before the first step: {:?}", scaler(&first.adam).await?);
    for overflows in [false, false, true, false, false, false, false, false] {
        step(&mut first, overflows)?;
    }
    // Backed off once, grew once, then two steps.
    let saved = GradScalerState { scale: INIT * 0.375 * 1.5, growth_tracker: 2, ..FRESH };
    let dict = first.adam.state_dict().await?;
    ensure!(dict.grad_scaler == Some(saved), "{:?} instead of {saved:?}", dict.grad_scaler);
    ensure!(dict.to_string().ends_with("growth_interval 3, growth_tracker 2"), "{dict:?}");
    ensure!(dict.state[&0].step == 7, "step {}", dict.state[&0].step);

    // Loaded into a dynamic scale that is already set: everything comes from the dict, except the initial scale.
    let LossScale::Dynamic { init_scale: init, .. } = LossScale::dynamic() else { unreachable!() };
    let mut second = rig(gpu, GradientControl { loss_scale: LossScale::dynamic(), ..DYNAMIC })?;
    let buffer = second.adam.loss_scale_buffer().cloned();
    step(&mut second, true)?;
    second.adam.load_state_dict(&dict).await?;
    ensure!(second.adam.loss_scale_buffer() == buffer.as_ref(), "the buffer has moved");
    ensure!(bound(&second).await? == saved.scale, "the buffer holds {}", bound(&second).await?);
    let (growth_factor, backoff_factor, growth_interval) = (1.5, 0.375, 3);
    let replaced = LossScale::Dynamic { init_scale: init, growth_factor, backoff_factor, growth_interval };
    let control = *second.adam.gradient_control();
    ensure!(control == GradientControl { loss_scale: replaced, ..DYNAMIC }, "{control:?}");
    ensure!(second.adam.state_dict().await? == dict, "the saved state differs from the loaded one");
    // A control with the same initial scale continues the current scale.
    second.adam.set_gradient_control(GradientControl { max_norm: Some(1e9), ..control })?;
    step(&mut second, false)?;
    let grown = GradScalerState { scale: f64::from((saved.scale * 1.5) as f32), growth_tracker: 0, ..saved };
    ensure!(scaler(&second.adam).await? == grown, "{:?}", scaler(&second.adam).await?);
    let told = second.adam.statistics().await?;
    ensure!((told.step, told.steps_taken, told.steps_skipped) == (2, 1, 1), "counts: {told:?}");

    // Loaded before a dynamic scale is set: the scale is kept, saved again, and continued later with the control's
    // growth.
    for between in [None, Some(GradientControl::default()), Some(fixed(8.0)), Some(clipped())] {
        let mut third = rig(gpu, GradientControl::default())?;
        third.adam.load_state_dict(&dict).await?;
        if let Some(between) = between {
            third.adam.set_gradient_control(between)?;
            // What is kept is not in force.
            if third.adam.loss_scale_buffer().is_some() {
                let want = if let LossScale::Fixed(scale) = between.loss_scale { scale } else { 1.0 };
                ensure!(bound(&third).await? == want, "{between:?}: the buffer holds {}", bound(&third).await?);
            }
        }
        ensure!(third.adam.state_dict().await? == dict, "{between:?}: not kept: {:?}", third.adam.state_dict().await?);
        third.adam.set_gradient_control(GradientControl { loss_scale: LossScale::dynamic(), ..DYNAMIC })?;
        let LossScale::Dynamic { growth_factor, backoff_factor, growth_interval, .. } = LossScale::dynamic() else {
            unreachable!()
        };
        let want = GradScalerState { growth_factor, backoff_factor, growth_interval, ..saved };
        ensure!(scaler(&third.adam).await? == want, "{between:?}: {:?}", scaler(&third.adam).await?);
        ensure!(bound(&third).await? == saved.scale, "{between:?}: the buffer holds {}", bound(&third).await?);
        step(&mut third, false)?;
        ensure!(scaler(&third.adam).await?.growth_tracker == 3, "{between:?}");
        // The kept scale was used; the next dynamic scale starts from its initial value.
        third.adam.set_gradient_control(GradientControl::default())?;
        ensure!(third.adam.state_dict().await?.grad_scaler.is_none(), "{between:?}: a scale although none is set");
        third.adam.set_gradient_control(DYNAMIC)?;
        ensure!(scaler(&third.adam).await? == FRESH, "{between:?}: {:?}", scaler(&third.adam).await?);
    }

    // A dict without a scale does not change the current scale, and discards a kept one.
    let without = StateDict { grad_scaler: None, ..dict.clone() };
    second.adam.load_state_dict(&without).await?;
    ensure!(scaler(&second.adam).await? == grown, "{:?}", scaler(&second.adam).await?);
    let mut fourth = rig(gpu, fixed(2.0))?;
    fourth.adam.load_state_dict(&dict).await?;
    fourth.adam.load_state_dict(&without).await?;
    ensure!(fourth.adam.state_dict().await? == without, "a scale of the dict before");

    // A dict that is refused, because of its scale or for another reason, changes neither.
    let mut wrong = [dict.clone(), dict.clone()];
    wrong[0].grad_scaler = Some(GradScalerState { scale: f64::NAN, ..saved });
    wrong[1].param_groups[0].lr = Some(-1.0);
    for wrong in wrong {
        for (rig, want) in [(&mut second, Some(grown)), (&mut fourth, None)] {
            let refused = rig.adam.load_state_dict(&wrong).await;
            ensure!(matches!(refused, Err(Error::InvalidOption { .. })), "{refused:?}");
            ensure!(rig.adam.state_dict().await?.grad_scaler == want, "a refused dict has changed the scale");
        }
    }
    Ok(())
}

fn fixed(scale: f64) -> GradientControl {
    GradientControl { loss_scale: LossScale::Fixed(scale), ..Default::default() }
}

fn clipped() -> GradientControl {
    GradientControl { max_norm: Some(1.0), skip_nonfinite: true, ..Default::default() }
}

/// A dict contains the steps that were recorded before the call, once they are submitted. It does not contain steps
/// recorded or submitted later, nor a control that is set later.
pub async fn moment(gpu: &Gpu) -> Result<()> {
    let mut rig = rig(gpu, DYNAMIC)?;
    step(&mut rig, false)?;
    step(&mut rig, false)?;
    let (dict, file) = (rig.adam.state_dict(), rig.adam.checkpoint_bytes(&CheckpointContents::optimizer_only()));
    // The scale grows and backs off; then another scale is set.
    step(&mut rig, false)?;
    step(&mut rig, true)?;
    let after = rig.adam.state_dict();
    rig.adam.set_gradient_control(GradientControl { loss_scale: LossScale::dynamic(), ..DYNAMIC })?;
    step(&mut rig, true)?;
    let (dict, file) = (dict.await?, StateDict::from_safetensors(file.await?)?);
    let want = Some(GradScalerState { growth_tracker: 2, ..FRESH });
    ensure!(dict.grad_scaler == want && dict.state[&0].step == 2, "{dict:?}");
    ensure!(file == dict, "the file of that moment: {file:?}");
    let want = Some(GradScalerState { scale: INIT * 1.5 * 0.375, ..FRESH });
    let after = after.await?;
    ensure!(after.grad_scaler == want && after.state[&0].step == 3, "{after:?}");
    ensure!(scaler(&rig.adam).await?.scale == 32768.0, "{:?}", scaler(&rig.adam).await?);

    // Like the rest of the dict, the scale excludes steps that are recorded and not submitted.
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    rig.adam.record_step(&mut encoder)?;
    let refused = rig.adam.state_dict().await;
    ensure!(matches!(refused, Err(Error::UnsubmittedSteps { steps: 1 })), "{refused:?}");
    gpu.queue.submit([encoder.finish()]);
    ensure!(scaler(&rig.adam).await?.growth_tracker == 0, "{:?}", scaler(&rig.adam).await?);

    // A step that is recorded before a dict is loaded, and submitted after that, uses the old state and the loaded
    // scale. Its backward pass reads the loaded scale too.
    rig.adam.set_gradient_control(DYNAMIC)?;
    rig.adam.load_state_dict(&dict).await?;
    rig.poke_grad(0, 0, f32::NAN);
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    rig.adam.record_step(&mut encoder)?;
    rig.adam.load_state_dict(&dict).await?;
    gpu.queue.submit([encoder.finish()]);
    let got = rig.adam.state_dict().await?;
    let backed_off = Some(GradScalerState { scale: INIT * 0.375, ..FRESH });
    ensure!(got == StateDict { grad_scaler: backed_off, ..dict }, "{got:?}");
    Ok(())
}

/// Through our own files and those of a later torch, with small and large staging buffers; an unused scale is kept.
pub async fn files(gpu: &Gpu) -> Result<()> {
    for staging in [4096, 64 << 20] {
        let mut first = Rig::in_arena(gpu, &[3000, 17], DYNAMIC)?;
        first.adam.set_staging_size(staging);
        for overflows in [true, false, false] {
            step(&mut first, overflows)?;
        }
        let dict = first.adam.state_dict().await?;
        ensure!(dict.grad_scaler.is_some_and(|scaler| scaler.growth_tracker == 2), "{dict:?}");
        let bytes = first.adam.checkpoint_bytes(&CheckpointContents::optimizer_only()).await?;
        let checkpoint = Checkpoint::from_bytes(bytes.clone())?;
        ensure!(checkpoint.state_dict()? == dict, "{staging}: the file holds {:?}", checkpoint.state_dict()?);
        ensure!(
            bytes == dict.to_safetensors(&CheckpointContents::optimizer_only())?,
            "{staging}: the dict's file differs"
        );
        for control in [DYNAMIC, GradientControl::default()] {
            let mut second = Rig::in_arena(gpu, &[3000, 17], control)?;
            second.adam.set_staging_size(staging);
            second.adam.load_from_with(&checkpoint, &LoadOptions::new().optimizer_only()).await?;
            let again = second.adam.checkpoint_bytes(&CheckpointContents::optimizer_only()).await?;
            ensure!(again == bytes, "{staging}: the file after loading differs, {control:?}");
        }
    }

    // Unknown keys of the entry are kept while there is a scale. Without one the entry is dropped, although `keep`
    // has it.
    let mut rig = rig(gpu, DYNAMIC)?;
    step(&mut rig, false)?;
    let dict = rig.adam.state_dict().await?;
    let text = String::from_utf8_lossy(&dict.to_safetensors(&CheckpointContents::optimizer_only())?).into_owned();
    let key = r#"{\"_growth_tracker\":1,"#;
    ensure!(text.matches(key).count() == 1, "no {key} in {text}");
    // `with_unknown` adapts the header's length to the additional key.
    let unknown = dict.to_safetensors(&CheckpointContents::optimizer_only().with_metadata("x", "y"))?;
    let unknown = with_unknown(&unknown, key)?;
    let checkpoint = Checkpoint::from_bytes(unknown)?;
    ensure!(checkpoint.state_dict()? == dict, "an unknown key changed {:?}", checkpoint.state_dict()?);
    rig.adam.load_from_with(&checkpoint, &LoadOptions::new().optimizer_only()).await?;
    let kept = rig.adam.checkpoint_bytes(&CheckpointContents::optimizer_only().keep(&checkpoint)).await?;
    let kept = Checkpoint::from_bytes(kept)?;
    let entry = kept.metadata().get("grad_scaler").context("no scale")?;
    ensure!(entry.contains(r#""_future":[1,2]"#) && kept.state_dict()? == dict, "{entry}");
    rig.adam.set_gradient_control(GradientControl::default())?;
    let without = rig.adam.checkpoint_bytes(&CheckpointContents::optimizer_only().keep(&checkpoint)).await?;
    ensure!(!Checkpoint::from_bytes(without)?.metadata().contains_key("grad_scaler"), "a scale although none is set");

    let own = CheckpointContents::optimizer_only().with_metadata("grad_scaler", "{}");
    let refused = rig.adam.checkpoint_bytes(&own).await;
    ensure!(matches!(refused, Err(Error::Checkpoint(CheckpointError::Metadata { .. }))), "{refused:?}");
    let bad = StateDict { grad_scaler: Some(GradScalerState { growth_interval: 0, ..FRESH }), ..dict };
    let refused = bad.to_safetensors(&CheckpointContents::optimizer_only());
    ensure!(matches!(refused, Err(Error::InvalidOption { .. })), "{refused:?}");
    Ok(())
}

/// The same file with another key in the entry, before `key`.
fn with_unknown(bytes: &[u8], key: &str) -> Result<Vec<u8>> {
    let (length, rest) = bytes.split_at(8);
    let (header, data) = rest.split_at(u64::from_le_bytes(length.try_into()?) as usize);
    let header = std::str::from_utf8(header)?.replace(key, &format!(r#"{{\"_future\":[1,2],{}"#, &key[1..]));
    Ok([&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat())
}

/// A scale so low that dividing by it fails is not saved. A run that loads the rest starts with the initial scale.
pub async fn exhausted(gpu: &Gpu) -> Result<()> {
    let backoff_factor = 1e-20;
    let loss_scale = LossScale::Dynamic { init_scale: 1.0, growth_factor: 2.0, backoff_factor, growth_interval: 3 };
    let mut rig = rig(gpu, GradientControl { loss_scale, ..DYNAMIC })?;
    step(&mut rig, true)?;
    ensure!(scaler(&rig.adam).await?.scale == f64::from(1e-20_f32), "{:?}", scaler(&rig.adam).await?);
    step(&mut rig, true)?;
    let dict = rig.adam.state_dict().await?;
    ensure!(dict.grad_scaler.is_none(), "{dict:?}");
    let bytes = rig.adam.checkpoint_bytes(&CheckpointContents::optimizer_only()).await?;
    ensure!(StateDict::from_safetensors(bytes)? == dict, "the file");
    Ok(())
}
