//! State that is not saved because it could not be loaded, and the last step count that can be.

use anyhow::{Context, Result, ensure};
use wgpu_adam::{Checkpoint, CheckpointContents, CheckpointError, CheckpointLoad, Error, GradientControl, StateDict};

use super::{Model, STAGING};
use crate::Gpu;

/// 2^53 steps are loaded, from a file and from a dict, and counted on from; what comes behind them is not saved.
pub async fn last_step(gpu: &Gpu) -> Result<()> {
    const LAST: u64 = 1 << 53;
    for skips in [false, true] {
        let mut model = Model::new(gpu, 1)?;
        if skips {
            model.adam.set_gradient_control(GradientControl { skip_nonfinite: true, ..Default::default() })?;
        }
        model.steps(2)?;
        let mut dict = model.adam.state_dict().await?;
        dict.state.get_mut(&0).context("an entry")?.step = LAST;
        let bytes = dict.to_safetensors(&CheckpointContents::new())?;
        model.adam.load_from(&Checkpoint::from_bytes(bytes)?, CheckpointLoad::State).await?;
        ensure!(model.adam.state_dict().await? == dict, "another state than was loaded from a file");
        model.adam.load_state_dict(&dict)?;
        model.steps(3)?;
        let after = model.adam.state_dict().await?;
        ensure!(after.state[&0].step == LAST + 3 && after.state[&1].step == 5, "step counts: {after:?}");
        ensure!(after.state[&0].exp_avg.iter().all(|value| value.is_finite()), "a step so late spoils the state");
        let refused = model.bytes().await;
        let text = format!("{refused:?}");
        ensure!(refused.is_err() && text.contains("optimizer.state.0.weight.step"), "saved: {text}");
        let refused = model.adam.load_state_dict(&after);
        ensure!(matches!(refused, Err(Error::StateEntry { key: "step", .. })), "loaded: {refused:?}");
    }
    Ok(())
}

/// An infinite gradient that no control skips: neither file nor dict is saved, whatever the staging size; a good one is
/// loaded and saved again.
pub async fn not_finite(gpu: &Gpu) -> Result<()> {
    let mut model = Model::new(gpu, 1)?;
    model.steps(2)?;
    let good = model.bytes().await?;
    model.write_grads()?;
    let mut grad = vec![1.0; 3003];
    grad[2500] = f32::INFINITY;
    model.arena.write_grad(&gpu.queue, "1.weight", &grad)?;
    model.adam.step()?;
    let is_told = |error: &Error| {
        let Error::Checkpoint(CheckpointError::NotSaved { name, element, .. }) = error else { return false };
        name == "optimizer.state.1.weight.exp_avg" && *element == 2500
    };
    for staging in [1 << 20, STAGING] {
        model.adam.set_staging_size(staging);
        let refused = model.adam.checkpoint_bytes(&CheckpointContents::new().params()).await;
        ensure!(refused.as_ref().is_err_and(is_told), "staging {staging}: {refused:?}");
    }
    let refused = model.adam.state_dict().await?.to_safetensors(&CheckpointContents::new());
    ensure!(refused.as_ref().is_err_and(is_told), "a dict: {refused:?}");
    model.adam.load_from(&Checkpoint::from_bytes(good.clone())?, CheckpointLoad::StateAndParams).await?;
    ensure!(model.bytes().await? == good, "another file than the one that was loaded");
    ensure!(model.adam.state_dict().await? == StateDict::from_safetensors(good)?, "another state");
    gpu.check_errors()?;
    Ok(())
}
