//! Recorded runs of torch.amp.GradScaler: scale, growth tracker and step counts are equal after every step.

use std::iter::Peekable;
use std::slice::Iter;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use wgpu_adam::{GradientControl, LossScale};

use super::rig::{Rig, relative};
use crate::{Gpu, readback::read_f32, twin::storage, values::value};

/// `grad_scaler.json`: the README beside it describes it.
#[derive(Deserialize)]
struct Record {
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Run {
    name: String,
    steps: u64,
    lengths: Vec<u64>,
    lr: f64,
    init_scale: f64,
    growth_factor: f64,
    backoff_factor: f64,
    growth_interval: u32,
    taken: u64,
    param: Vec<f32>,
    overflows: Vec<(u64, usize, String)>,
    changes: Vec<(u64, String, u32)>,
}

/// torch's values after a step.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Scaler {
    scale: f32,
    tracker: u32,
}

fn runs() -> Result<Vec<Run>> {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/control/grad_scaler.json"));
    let record: Record = serde_json::from_str(text)?;
    ensure!(record.runs.len() == 6, "{} runs", record.runs.len());
    Ok(record.runs)
}

impl Run {
    fn control(&self) -> GradientControl {
        let loss_scale = LossScale::Dynamic {
            init_scale: self.init_scale,
            growth_factor: self.growth_factor,
            backoff_factor: self.backoff_factor,
            growth_interval: self.growth_interval,
        };
        GradientControl { loss_scale, ..Default::default() }
    }

    /// Whether products with these factors are equal in float32 and rounded from float64, in which torch computes them.
    fn is_exact(&self) -> bool {
        [self.growth_factor, self.backoff_factor].iter().all(|&factor| f64::from(factor as f32) == factor)
    }

    /// Near the largest scale its reciprocal is a denormal, which adapters may flush.
    fn has_normal_reciprocals(&self) -> bool {
        self.init_scale < 1e30
    }

    /// Each step: the scale before it, the values after it, whether it overflows, its gradients.
    fn steps(&self) -> Result<Vec<Step>> {
        let mut changes = self.changes.iter().peekable();
        let mut now = Scaler { scale: self.init_scale as f32, tracker: 0 };
        let mut overflows = self.overflows.iter().peekable();
        let mut steps = Vec::new();
        for number in 1..=self.steps {
            let count: u64 = self.lengths.iter().sum();
            let grad = |i| (f64::from(value(number, i)) * f64::from(now.scale)) as f32;
            let mut grads: Vec<f32> = (0..count).map(grad).collect();
            let finite = grads.clone();
            let overflow = next_at(&mut overflows, |overflow| overflow.0 == number);
            if let Some((_, element, what)) = overflow {
                grads[*element] = what.parse().with_context(|| what.clone())?;
            }
            let before = now.scale;
            now.tracker += 1;
            if let Some((_, scale, tracker)) = next_at(&mut changes, |change| change.0 == number) {
                let bits = u32::from_str_radix(scale.trim_start_matches("0x"), 16).with_context(|| scale.clone())?;
                now = Scaler { scale: f32::from_bits(bits), tracker: *tracker };
            }
            steps.push(Step { number, before, after: now, overflows: overflow.is_some(), grads, finite });
        }
        ensure!(changes.next().is_none() && overflows.next().is_none(), "{}: more than its steps", self.name);
        Ok(steps)
    }
}

struct Step {
    number: u64,
    before: f32,
    after: Scaler,
    overflows: bool,
    grads: Vec<f32>,
    finite: Vec<f32>,
}

fn next_at<'a, T>(all: &mut Peekable<Iter<'a, T>>, is: impl Fn(&T) -> bool) -> Option<&'a T> {
    all.next_if(|next| is(next))
}

fn rig<'a>(gpu: &'a Gpu, run: &Run) -> Result<Rig<'a>> {
    let mut rig = Rig::alone(gpu, &run.lengths, run.control())?;
    rig.adam.set_lr(0, run.lr)?;
    for tensor in &mut rig.tensors {
        // torch's run begins at zero.
        let zeros = vec![0.0_f32; tensor.length as usize];
        gpu.queue.write_buffer(tensor.param.buffer(), 0, bytemuck::cast_slice(&zeros));
        tensor.reference = crate::reference::Reference::new(&zeros);
        tensor.initial = zeros;
    }
    Ok(rig)
}

fn split<'v>(lengths: &[u64], mut values: &'v [f32]) -> Vec<&'v [f32]> {
    let mut parts = Vec::new();
    for &length in lengths {
        let (part, rest) = values.split_at(length as usize);
        parts.push(part);
        values = rest;
    }
    parts
}

/// Steps the reference like torch's optimizer.
fn step_reference(rig: &mut Rig<'_>, run: &Run, step: &Step) -> Result<()> {
    if step.overflows {
        return Ok(());
    }
    for (index, part) in split(&run.lengths, &step.finite).into_iter().enumerate() {
        rig.tensors[index].grad_values = Some(part.to_vec());
    }
    let scale = f64::from(step.before);
    rig.took(|grad| grad / scale)
}

/// Parameters, moments and step counts at the end.
async fn finish(rig: &Rig<'_>, run: &Run) -> Result<()> {
    let dict = rig.adam.state_dict().await?;
    let steps: Vec<u64> = dict.state.values().map(|entry| entry.step).collect();
    ensure!(steps.iter().all(|&step| step == run.taken), "{}: steps {steps:?} instead of {}", run.name, run.taken);
    if !run.has_normal_reciprocals() {
        return Ok(());
    }
    rig.check(&run.name).await?;
    for (tensor, want) in rig.tensors.iter().zip(split(&run.lengths, &run.param)) {
        let got = crate::readback::read_tensor(rig.gpu, &tensor.param, tensor.length).await?;
        for (got, want) in got.iter().zip(want) {
            let off = (got - want).abs();
            ensure!(off <= 1e-4, "{}: parameter {got} and torch's {want}", run.name);
        }
    }
    Ok(())
}

/// One step per submit; everything is checked after each.
pub async fn recorded(gpu: &Gpu) -> Result<()> {
    for run in runs()?.iter().filter(|run| !run.overflows.is_empty()) {
        let mut rig = rig(gpu, run)?;
        let (mut taken, mut skipped) = (0, 0);
        for step in run.steps()? {
            for (index, part) in split(&run.lengths, &step.grads).into_iter().enumerate() {
                rig.write_grad(index, part.to_vec());
            }
            rig.adam.step()?;
            if step.overflows {
                skipped += 1;
            } else {
                taken += 1;
            }
            let case = format!("{}: step {}", run.name, step.number);
            let told = rig.adam.statistics().await?;
            let got = Scaler { scale: told.loss_scale, tracker: told.growth_tracker };
            if run.is_exact() {
                ensure!(got == step.after, "{case}: {got:?} instead of {:?}", step.after);
            } else {
                // Each change of the scale rounds the factor and the product.
                let off = relative(got.scale, step.after.scale.into());
                let allowed = step.number as f64 * f64::from(f32::EPSILON);
                ensure!(got.tracker == step.after.tracker && off <= allowed, "{case}: {got:?}, {:?}", step.after);
            }
            ensure!(told.step == step.number && told.found_inf == step.overflows, "{case}: {told:?}");
            ensure!((told.steps_taken, told.steps_skipped) == (taken, skipped), "{case}: {told:?}");
            step_reference(&mut rig, run, &step)?;
        }
        finish(&rig, run).await?;
    }
    Ok(())
}

/// A hundred steps per encoder, which also copies the scale after each step.
pub async fn in_batches(gpu: &Gpu) -> Result<()> {
    for run in runs()?.iter().filter(|run| run.is_exact()) {
        let mut rig = rig(gpu, run)?;
        let steps = run.steps()?;
        let count: u64 = run.lengths.iter().sum();
        let (source, history) = (storage(gpu, run.steps * count * 4), storage(gpu, run.steps * 4));
        let grads: Vec<f32> = steps.iter().flat_map(|step| &step.grads).copied().collect();
        gpu.queue.write_buffer(&source, 0, bytemuck::cast_slice(&grads));
        let scale = rig.adam.loss_scale_buffer().context("no buffer of the loss scale")?.clone();
        let first = read_f32(gpu, &scale, 0, 1).await?;
        ensure!(first == [run.init_scale as f32], "{}: the first scale is {first:?}", run.name);
        for batch in steps.chunks(100) {
            let mut encoder = gpu.device.create_command_encoder(&Default::default());
            for step in batch {
                let mut from = (step.number - 1) * count * 4;
                for tensor in &rig.tensors {
                    let bytes = tensor.length * 4;
                    encoder.copy_buffer_to_buffer(&source, from, tensor.grad.buffer(), 0, Some(bytes));
                    from += bytes;
                }
                rig.adam.record_step(&mut encoder)?;
                encoder.copy_buffer_to_buffer(&scale, 0, &history, (step.number - 1) * 4, Some(4));
            }
            gpu.queue.submit([encoder.finish()]);
        }
        let scales = read_f32(gpu, &history, 0, run.steps).await?;
        for (step, got) in steps.iter().zip(scales) {
            let want = step.after.scale;
            ensure!(got == want, "{}: {got} after step {} instead of {want}", run.name, step.number);
            step_reference(&mut rig, run, step)?;
        }
        let told = rig.adam.statistics().await?;
        let last = steps.last().context("no steps")?;
        ensure!(told.growth_tracker == last.after.tracker && told.steps_taken == run.taken, "{}: {told:?}", run.name);
        finish(&rig, run).await?;
    }
    Ok(())
}
