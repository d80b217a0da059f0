//! A folder `checkpoint/`: a checkpoint of torch's, and torch's results of the following steps.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use wgpu_adam::{AdamConfig, Checkpoint, CheckpointContents, ParamGroup, StateDict, TensorArena, WgpuAdam};

use super::TorchError;
use crate::{
    adapter::Gpu,
    judge::{ELEMENT_FACTOR, ELEMENT_ULPS, NORM_ELEMENTS, NORM_FACTOR_MOMENT, NORM_FACTOR_PARAM, ROUNDING},
    stats::{error_stats, ulp},
};

/// The files of a folder.
pub struct Folder<'a> {
    pub manifest: &'a str,
    /// `model_optimizer.safetensors`.
    pub checkpoint: &'a [u8],
    pub continuation: &'a [u8],
}

#[derive(Deserialize)]
struct Manifest {
    timeline: Vec<Op>,
}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Op {
    Step { n: u64, none: Vec<String> },
    Checkpoint { name: String, torch_f32_error: BTreeMap<String, TorchError> },
}

/// The largest fraction of each bound that was used; 1 is the limit.
#[derive(Debug, Default)]
pub struct Shares {
    pub tensors: usize,
    pub norm: f64,
    pub element: f64,
}

impl std::fmt::Display for Shares {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { tensors, norm, element } = self;
        write!(f, "{tensors} tensors, of the bars used: norm {norm:.2}, element {element:.2}")
    }
}

/// Loads the checkpoint into an optimizer with other options, writes it back bit for bit, continues with the recorded
/// gradients, and compares each result with torch's.
pub async fn continue_run(gpu: &Gpu, folder: &Folder<'_>) -> Result<Shares> {
    let manifest: Manifest = serde_json::from_str(folder.manifest).context("reading the manifest")?;
    let recorded = SafeTensors::deserialize(folder.continuation).context("reading the continuation")?;
    let checkpoint = Checkpoint::from_bytes(folder.checkpoint)?;
    let mut model = Model::new(gpu, &checkpoint)?;
    model.adam.load_from(&checkpoint).await?;
    model.written_back(&checkpoint).await?;

    let mut shares = Shares::default();
    for op in manifest.timeline {
        match op {
            Op::Step { n, none } => model.step(&recorded, n, &none)?,
            Op::Checkpoint { name, torch_f32_error } => {
                let now = model.checkpoint().await?;
                let prefix = format!("f32.{name}.");
                for tensor in recorded.names().into_iter().filter_map(|name| name.strip_prefix(&prefix)) {
                    let got = now.tensor(tensor)?.to_f32().context("a tensor that is not f32")?;
                    let want = floats(&recorded, &format!("f64.{name}.{tensor}"))?;
                    let error = torch_f32_error.get(tensor).copied().unwrap_or_default();
                    shares.judge(tensor, &got, &want, error).with_context(|| format!("{name} {tensor}"))?;
                }
            }
        }
    }
    ensure!(shares.tensors > 0, "nothing was compared");
    Ok(shares)
}

impl Shares {
    /// Step counts must be equal; the rest follows the rules of the finite cases.
    fn judge(&mut self, tensor: &str, got: &[f32], want: &[f64], torch: TorchError) -> Result<()> {
        self.tensors += 1;
        ensure!(got.len() == want.len(), "{} elements, not {}", got.len(), want.len());
        if tensor.ends_with(".step") {
            ensure!(f64::from(got[0]) == want[0], "step {}, not {}", got[0], want[0]);
            return Ok(());
        }
        let factor = if tensor.starts_with("model.") { NORM_FACTOR_PARAM } else { NORM_FACTOR_MOMENT };
        let norm = error_stats(got, want).unwrap_or_default().norm_rel;
        let bar = factor * torch.norm_rel.max(ROUNDING);
        if got.len() >= NORM_ELEMENTS {
            ensure!(norm <= bar, "norm_rel {norm:.3e} against float64, allowed {bar:.3e}");
            self.norm = self.norm.max(norm / bar);
        }
        for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
            let difference = (f64::from(got) - want).abs();
            let allowed = (ELEMENT_FACTOR * torch.max_abs).max(ELEMENT_ULPS * ulp(want));
            ensure!(difference <= allowed, "[{i}]: got {got:e}, want {want:e}: {difference:.2e} > {allowed:.2e}");
            self.element = self.element.max(difference / allowed);
        }
        Ok(())
    }
}

/// An optimizer over a checkpoint's parameters.
struct Model<'a> {
    gpu: &'a Gpu,
    arena: TensorArena,
    adam: WgpuAdam,
    names: Vec<String>,
}

impl<'a> Model<'a> {
    fn new(gpu: &'a Gpu, checkpoint: &Checkpoint) -> Result<Self> {
        let groups = &checkpoint.outline().param_groups;
        let names = |group: &wgpu_adam::StateGroup| group.param_names.clone().context("a group without names");
        let names: Vec<Vec<String>> = groups.iter().map(names).collect::<Result<_>>()?;
        let shape = |name: &String| Ok((name.clone(), checkpoint.tensor(&format!("model.{name}"))?.shape().to_vec()));
        let tensors: Vec<(String, Vec<usize>)> = names.iter().flatten().map(shape).collect::<Result<_>>()?;
        let arena = TensorArena::new(&gpu.device, tensors)?;
        let mut params = arena.params().into_iter();
        let groups: Vec<ParamGroup> =
            names.iter().map(|names| ParamGroup::new(params.by_ref().take(names.len()))).collect();
        let adam = WgpuAdam::new(&gpu.device, &gpu.queue, groups, AdamConfig { lr: 7.0, ..Default::default() })?;
        Ok(Self { gpu, arena, adam, names: names.concat() })
    }

    async fn checkpoint(&self) -> Result<Checkpoint> {
        let bytes = self.adam.checkpoint_bytes(&CheckpointContents::new()).await?;
        Ok(Checkpoint::from_bytes(bytes)?)
    }

    /// Every tensor is written back with the same bits, and the groups with every option, including options that only
    /// torch knows.
    async fn written_back(&self, original: &Checkpoint) -> Result<()> {
        let written = self.checkpoint().await?;
        let tensors = |checkpoint: &Checkpoint| -> Vec<String> {
            checkpoint.tensors().map(|(name, ..)| name.to_owned()).collect()
        };
        ensure!(tensors(&written) == tensors(original), "other tensors: {:?}", tensors(&written));
        for name in tensors(original) {
            ensure!(written.tensor(&name)? == original.tensor(&name)?, "{name} has changed");
        }
        // Options that an older torch lacks are written as false.
        let complete = |dict: &StateDict| {
            let mut dict = dict.clone();
            for group in &mut dict.param_groups {
                group.decoupled_weight_decay.get_or_insert(false);
            }
            dict
        };
        ensure!(complete(original.outline()) == *written.outline(), "other groups: {:?}", written.outline());
        Ok(())
    }

    fn step(&mut self, recorded: &SafeTensors<'_>, n: u64, none: &[String]) -> Result<()> {
        for name in &self.names {
            let id = self.adam.find(name).with_context(|| format!("no parameter {name}"))?;
            if none.contains(name) {
                self.adam.set_grad_to_none(id)?;
                continue;
            }
            self.adam.set_grad(id, self.arena.grad_buffer(name)?)?;
            let grad = floats(recorded, &format!("grad.{n}.{name}"))?;
            let grad: Vec<f32> = grad.into_iter().map(|value| value as f32).collect();
            self.arena.write_grad(&self.gpu.queue, name, &grad)?;
        }
        self.adam.step()?;
        Ok(())
    }
}

/// A tensor of f32 or f64, converted to f64 exactly.
fn floats(tensors: &SafeTensors<'_>, name: &str) -> Result<Vec<f64>> {
    let view = tensors.tensor(name).with_context(|| name.to_owned())?;
    let f32s = view.data().chunks_exact(4).map(|word| f32::from_le_bytes(std::array::from_fn(|i| word[i])).into());
    let f64s = view.data().chunks_exact(8).map(|word| f64::from_le_bytes(std::array::from_fn(|i| word[i])));
    match view.dtype() {
        Dtype::F32 => Ok(f32s.collect()),
        Dtype::F64 => Ok(f64s.collect()),
        other => anyhow::bail!("{name} is {other:?}"),
    }
}
