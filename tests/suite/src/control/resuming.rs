//! The dynamic loss scale in state dicts and checkpoints.

use anyhow::{Context, Result, ensure};
use wgpu_adam::{
    Checkpoint, CheckpointContents, CheckpointError, CheckpointLoad, Error, GradScalerState, GradientControl,
    LossScale, StateDict, WgpuAdam,
};

use super::rig::Rig;
use crate::{Gpu, readback::read_f32};

const INIT: f64 = 1000.0;
const DYNAMIC: GradientControl = GradientControl {
    clip_norm: None,
    norm_type: wgpu_adam::NormType::Two,
    clip_value: None,
    skip_nonfinite: false,
    loss_scale: LossScale::Dynamic { init: INIT, growth_factor: 1.5, backoff_factor: 0.375, growth_interval: 3 },
    accumulate: 1,
    zero_grad_after_step: false,
};

/// As the control above says.
const FRESH: GradScalerState =
    GradScalerState { scale: INIT, growth_factor: 1.5, backoff_factor: 0.375, growth_interval: 3, growth_tracker: 0 };

fn rig(gpu: &Gpu, control: GradientControl) -> Result<Rig<'_>> {
    Rig::in_arena(gpu, &[100, 3], control)
}

/// A step, skipped if it is to overflow.
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

/// What the backward pass would read.
async fn bound(rig: &Rig<'_>) -> Result<f64> {
    let buffer = rig.adam.loss_scale_buffer().context("no buffer of the loss scale")?;
    Ok(read_f32(rig.gpu, buffer, 0, 1).await?[0].into())
}

/// A scale saved, and loaded where a dynamic one is in force, before one is, and where there is none.
pub async fn dicts(gpu: &Gpu) -> Result<()> {
    let mut first = rig(gpu, DYNAMIC)?;
    ensure!(scaler(&first.adam).await? == FRESH, "before the first step: {:?}", scaler(&first.adam).await?);
    for overflows in [false, false, true, false, false, false, false, false] {
        step(&mut first, overflows)?;
    }
    // One back, one up, two since.
    let saved = GradScalerState { scale: INIT * 0.375 * 1.5, growth_tracker: 2, ..FRESH };
    let dict = first.adam.state_dict().await?;
    ensure!(dict.grad_scaler == Some(saved), "{:?} instead of {saved:?}", dict.grad_scaler);
    ensure!(format!("{dict:?}").ends_with("growth_interval 3, growth_tracker 2"), "{dict:?}");
    ensure!(dict.state[&0].step == 7, "step {}", dict.state[&0].step);

    // Into a scale in force: all is the dict's, but the first scale.
    let LossScale::Dynamic { init, .. } = LossScale::dynamic() else { unreachable!() };
    let mut second = rig(gpu, GradientControl { loss_scale: LossScale::dynamic(), ..DYNAMIC })?;
    let buffer = second.adam.loss_scale_buffer().cloned();
    step(&mut second, true)?;
    second.adam.load_state_dict(&dict)?;
    ensure!(second.adam.loss_scale_buffer() == buffer.as_ref(), "the buffer has moved");
    ensure!(bound(&second).await? == saved.scale, "the buffer holds {}", bound(&second).await?);
    let (growth_factor, backoff_factor, growth_interval) = (1.5, 0.375, 3);
    let replaced = LossScale::Dynamic { init, growth_factor, backoff_factor, growth_interval };
    let control = *second.adam.gradient_control();
    ensure!(control == GradientControl { loss_scale: replaced, ..DYNAMIC }, "{control:?}");
    ensure!(second.adam.state_dict().await? == dict, "what was loaded is not what is saved");
    // A control of the same first scale lets it go on.
    second.adam.set_gradient_control(GradientControl { clip_norm: Some(1e9), ..control })?;
    step(&mut second, false)?;
    let grown = GradScalerState { scale: f64::from((saved.scale * 1.5) as f32), growth_tracker: 0, ..saved };
    ensure!(scaler(&second.adam).await? == grown, "{:?}", scaler(&second.adam).await?);
    let told = second.adam.statistics().await?;
    ensure!((told.step, told.steps_taken, told.steps_skipped) == (2, 1, 1), "counts went on: {told:?}");

    // Before there is one: kept, saved again, and gone on from, with the growth of the control.
    for between in [None, Some(GradientControl::default()), Some(fixed(8.0)), Some(clipped())] {
        let mut third = rig(gpu, GradientControl::default())?;
        third.adam.load_state_dict(&dict)?;
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
        // Used up: another begins anew.
        third.adam.set_gradient_control(GradientControl::default())?;
        ensure!(third.adam.state_dict().await?.grad_scaler.is_none(), "{between:?}: a scale that is not in force");
        third.adam.set_gradient_control(DYNAMIC)?;
        ensure!(scaler(&third.adam).await? == FRESH, "{between:?}: {:?}", scaler(&third.adam).await?);
    }

    // A dict without one leaves the scale in force alone, and takes away one that was kept.
    let without = StateDict { grad_scaler: None, ..dict.clone() };
    second.adam.load_state_dict(&without)?;
    ensure!(scaler(&second.adam).await? == grown, "{:?}", scaler(&second.adam).await?);
    let mut fourth = rig(gpu, fixed(2.0))?;
    fourth.adam.load_state_dict(&dict)?;
    fourth.adam.load_state_dict(&without)?;
    ensure!(fourth.adam.state_dict().await? == without, "a scale of the dict before");

    // A dict that is refused, for its scale or for another reason, changes neither.
    let mut wrong = [dict.clone(), dict.clone()];
    wrong[0].grad_scaler = Some(GradScalerState { scale: f64::NAN, ..saved });
    wrong[1].param_groups[0].lr = Some(-1.0);
    for wrong in wrong {
        for (rig, want) in [(&mut second, Some(grown)), (&mut fourth, None)] {
            let refused = rig.adam.load_state_dict(&wrong);
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
    GradientControl { clip_norm: Some(1.0), skip_nonfinite: true, ..Default::default() }
}

/// Steps recorded before a dict is asked for show in it, once submitted; those recorded or submitted later do not, nor does
/// a control that is set later.
pub async fn moment(gpu: &Gpu) -> Result<()> {
    let mut rig = rig(gpu, DYNAMIC)?;
    step(&mut rig, false)?;
    step(&mut rig, false)?;
    let (dict, file) = (rig.adam.state_dict(), rig.adam.checkpoint_bytes(&CheckpointContents::new()));
    // Grows, and backs off; then another scale altogether.
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

    // As everything else in it, not of steps that are recorded and not submitted.
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    rig.adam.record_step(&mut encoder)?;
    let refused = rig.adam.state_dict().await;
    ensure!(matches!(refused, Err(Error::UnsubmittedSteps { steps: 1 })), "{refused:?}");
    gpu.queue.submit([encoder.finish()]);
    ensure!(scaler(&rig.adam).await?.growth_tracker == 0, "{:?}", scaler(&rig.adam).await?);

    // A step recorded before a dict is loaded and submitted behind that has the state that is given up, and the scale that
    // is loaded: its backward pass has it too.
    rig.adam.set_gradient_control(DYNAMIC)?;
    rig.adam.load_state_dict(&dict)?;
    rig.poke_grad(0, 0, f32::NAN);
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    rig.adam.record_step(&mut encoder)?;
    rig.adam.load_state_dict(&dict)?;
    gpu.queue.submit([encoder.finish()]);
    let got = rig.adam.state_dict().await?;
    let backed_off = Some(GradScalerState { scale: INIT * 0.375, ..FRESH });
    ensure!(got == StateDict { grad_scaler: backed_off, ..dict }, "{got:?}");
    Ok(())
}

/// Through files of our own and of a later torch, with small staging and with large, and kept where nobody uses it.
pub async fn files(gpu: &Gpu) -> Result<()> {
    for staging in [4096, 64 << 20] {
        let mut first = Rig::in_arena(gpu, &[3000, 17], DYNAMIC)?;
        first.adam.set_staging_size(staging);
        for overflows in [true, false, false] {
            step(&mut first, overflows)?;
        }
        let dict = first.adam.state_dict().await?;
        ensure!(dict.grad_scaler.is_some_and(|scaler| scaler.growth_tracker == 2), "{dict:?}");
        let bytes = first.adam.checkpoint_bytes(&CheckpointContents::new()).await?;
        let checkpoint = Checkpoint::from_bytes(bytes.clone())?;
        ensure!(checkpoint.state_dict()? == dict, "{staging}: the file holds {:?}", checkpoint.state_dict()?);
        ensure!(bytes == dict.to_safetensors(&CheckpointContents::new())?, "{staging}: the dict makes another file");
        for control in [DYNAMIC, GradientControl::default()] {
            let mut second = Rig::in_arena(gpu, &[3000, 17], control)?;
            second.adam.set_staging_size(staging);
            second.adam.load_from(&checkpoint, CheckpointLoad::State).await?;
            let again = second.adam.checkpoint_bytes(&CheckpointContents::new()).await?;
            ensure!(again == bytes, "{staging}: the file after loading is another, {control:?}");
        }
    }

    // What is unknown in it is kept, where the scale itself is; the scale of a file that is kept is not the optimizer's.
    let mut rig = rig(gpu, DYNAMIC)?;
    step(&mut rig, false)?;
    let dict = rig.adam.state_dict().await?;
    let text = String::from_utf8_lossy(&dict.to_safetensors(&CheckpointContents::new())?).into_owned();
    let key = r#"{\"_growth_tracker\":1,"#;
    ensure!(text.matches(key).count() == 1, "no {key} in {text}");
    // As long as before: an interval of 3 in place of 3 and so on would move the data.
    let unknown = dict.to_safetensors(&CheckpointContents::new().metadata("x", "y"))?;
    let unknown = with_unknown(&unknown, key)?;
    let checkpoint = Checkpoint::from_bytes(unknown)?;
    ensure!(checkpoint.state_dict()? == dict, "an unknown key has changed {:?}", checkpoint.state_dict()?);
    rig.adam.load_from(&checkpoint, CheckpointLoad::State).await?;
    let kept = rig.adam.checkpoint_bytes(&CheckpointContents::new().keep(&checkpoint)).await?;
    let kept = Checkpoint::from_bytes(kept)?;
    let entry = kept.metadata().get("grad_scaler").context("no scale")?;
    ensure!(entry.contains(r#""_future":[1,2]"#) && kept.state_dict()? == dict, "{entry}");
    rig.adam.set_gradient_control(GradientControl::default())?;
    let without = rig.adam.checkpoint_bytes(&CheckpointContents::new().keep(&checkpoint)).await?;
    ensure!(!Checkpoint::from_bytes(without)?.metadata().contains_key("grad_scaler"), "a scale that is not in force");

    let own = CheckpointContents::new().metadata("grad_scaler", "{}");
    let refused = rig.adam.checkpoint_bytes(&own).await;
    ensure!(matches!(refused, Err(Error::Checkpoint(CheckpointError::Metadata { .. }))), "{refused:?}");
    let bad = StateDict { grad_scaler: Some(GradScalerState { growth_interval: 0, ..FRESH }), ..dict };
    let refused = bad.to_safetensors(&CheckpointContents::new());
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

/// A scale so low that nothing can be divided by it is not saved: a run that loads the rest begins with a new one.
pub async fn exhausted(gpu: &Gpu) -> Result<()> {
    let backoff_factor = 1e-20;
    let loss_scale = LossScale::Dynamic { init: 1.0, growth_factor: 2.0, backoff_factor, growth_interval: 3 };
    let mut rig = rig(gpu, GradientControl { loss_scale, ..DYNAMIC })?;
    step(&mut rig, true)?;
    ensure!(scaler(&rig.adam).await?.scale == f64::from(1e-20_f32), "{:?}", scaler(&rig.adam).await?);
    step(&mut rig, true)?;
    let dict = rig.adam.state_dict().await?;
    ensure!(dict.grad_scaler.is_none(), "{dict:?}");
    let bytes = rig.adam.checkpoint_bytes(&CheckpointContents::new()).await?;
    ensure!(StateDict::from_safetensors(bytes)? == dict, "the file");
    Ok(())
}
