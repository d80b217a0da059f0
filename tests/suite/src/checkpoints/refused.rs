//! The highest step count that can be saved and loaded.

use anyhow::{Context, Result, ensure};
use wgpu_adam::{Checkpoint, CheckpointContents, Error, GradientControl, LoadOptions, StateDictError};

use super::Model;
use crate::Gpu;

/// 2^53 steps can be loaded, from a file and from a dict, and training continues from there; a higher count cannot be
/// saved.
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
        let bytes = dict.to_safetensors(&CheckpointContents::optimizer_only())?;
        model.adam.load_from_with(&Checkpoint::from_bytes(bytes)?, &LoadOptions::new().optimizer_only()).await?;
        ensure!(model.adam.state_dict().await? == dict, "the state differs from the one loaded from a file");
        model.adam.load_state_dict(&dict).await?;
        model.steps(3)?;
        let after = model.adam.state_dict().await?;
        ensure!(after.state[&0].step == LAST + 3 && after.state[&1].step == 5, "step counts: {after:?}");
        ensure!(after.state[&0].exp_avg.iter().all(|value| value.is_finite()), "a step so late spoils the state");
        let refused = model.bytes().await;
        let text = format!("{refused:?}");
        ensure!(refused.is_err() && text.contains("optimizer.state.0.weight.step"), "saved: {text}");
        let refused = model.adam.load_state_dict(&after).await;
        ensure!(
            matches!(refused, Err(Error::StateDict(StateDictError::Entry { key: "step", .. }))),
            "loaded: {refused:?}"
        );
    }
    Ok(())
}
