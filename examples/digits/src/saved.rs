//! A training run on the host, complete enough to continue on another device, and its form as a file.

use anyhow::{Context, Result, ensure};
use wgpu_adam::{Checkpoint, CheckpointContents, CheckpointTensor, StateDict};

use crate::curves::Curves;
use crate::model::PARAMETERS;

/// A run between two steps, from [`Trainer::save`](crate::Trainer::save).
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    /// Training steps so far, skipped ones included.
    pub steps: u64,
    /// The values of [`PARAMETERS`](crate::model::PARAMETERS), in their order.
    pub parameters: Vec<Vec<f32>>,
    /// The optimizer's state and options.
    pub adam: StateDict,
}

impl Saved {
    /// The bytes of the file that `WgpuAdam::save_checkpoint_with` would write with the contents of these curves, which
    /// hold one loss per step. For browsers, which already have the run on the host.
    pub fn to_checkpoint(&self, curves: &Curves) -> Result<Vec<u8>> {
        let losses = curves.losses.len();
        ensure!(losses as u64 == self.steps, "{losses} losses of a run at step {}", self.steps);
        let mut contents = curves.add_to(CheckpointContents::optimizer_only())?;
        for ((name, shape), values) in PARAMETERS.iter().zip(&self.parameters) {
            contents = contents.with_tensor(in_file(name), CheckpointTensor::f32(*shape, values)?);
        }
        Ok(self.adam.to_safetensors(&contents)?)
    }

    /// The run in a checkpoint.
    pub fn of(checkpoint: &Checkpoint) -> Result<Self> {
        let taken = steps_taken(checkpoint)?;
        check_model(checkpoint.outline())?;
        let steps = Curves::of(checkpoint)?.steps();
        check_steps(taken, steps)?;
        let parameter = |(name, shape): (&str, &[usize])| {
            let tensor = checkpoint.tensor(&in_file(name))?;
            let found = tensor.shape();
            ensure!(found == shape, "{name} has the shape {found:?}, and this model's has {shape:?}");
            tensor.to_f32().with_context(|| format!("{name} is not of f32"))
        };
        let parameters = PARAMETERS.into_iter().map(parameter).collect::<Result<_>>()?;
        Ok(Self { steps, parameters, adam: checkpoint.state_dict()? })
    }
}

/// The number of steps that the checkpoint's parameters have taken, the same for all.
pub(crate) fn steps_taken(checkpoint: &Checkpoint) -> Result<u64> {
    let state = &checkpoint.outline().state;
    let taken = state.first_key_value().context("the checkpoint is of a run without steps")?.1.step;
    ensure!(state.values().all(|entry| entry.step == taken), "the parameters have taken different numbers of steps");
    Ok(taken)
}

/// Whether a run of `steps` steps can have `taken` taken ones: fewer if some were skipped.
pub(crate) fn check_steps(taken: u64, steps: u64) -> Result<()> {
    ensure!(taken <= steps, "the parameters have taken {taken} steps in a run of {steps}");
    Ok(())
}

/// Checks that the optimizer's parameters are this model's, in one group and all with state.
fn check_model(dict: &StateDict) -> Result<()> {
    let groups = &dict.param_groups;
    let names: Vec<&str> =
        groups.iter().flat_map(|group| group.param_names.iter().flatten()).map(String::as_str).collect();
    let wanted = PARAMETERS.map(|(name, _)| name);
    let others = names[..names.len().min(wanted.len())].join(", ");
    ensure!(
        names == wanted,
        "it is of a model with {} parameters ({others}), not of {}",
        names.len(),
        wanted.join(", ")
    );
    ensure!(groups.len() == 1, "its parameters are in {} groups", groups.len());
    let shapes = dict.state.values().map(|entry| entry.shape.as_slice());
    ensure!(shapes.eq(PARAMETERS.map(|(_, shape)| shape)), "its parameters have no state, or of other shapes");
    Ok(())
}

fn in_file(parameter: &str) -> String {
    format!("model.{parameter}")
}
