//! Prints the content of a checkpoint, without a GPU:
//!
//! ```sh
//! cargo run --example checkpoint -- run.safetensors
//! ```
//!
//! `--through-gpu OUT` also loads state and parameters into an optimizer, and saves them from there to a file with the
//! same content. `--adapter SUBSTRING` chooses the adapter.

use std::path::Path;

use anyhow::{Context, Result, bail};
use wgpu_adam::{AdamConfig, Checkpoint, CheckpointContents, Param, ParamGroup, StateGroup, WgpuAdam, wgpu};
use wgpu_adam_suite::Gpu;
use wgpu_adam_suite::adapter::{adapters, select};

const USAGE: &str = "usage: checkpoint FILE [--through-gpu OUT] [--adapter SUBSTRING]";

fn main() -> Result<()> {
    let (mut file, mut out, mut adapter) = (None, None, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--through-gpu" => out = Some(words.next().context(USAGE)?),
            "--adapter" => adapter = Some(words.next().context(USAGE)?),
            _ if word.starts_with('-') || file.is_some() => bail!("unexpected argument '{word}'\n{USAGE}"),
            _ => file = Some(word),
        }
    }
    let checkpoint = Checkpoint::open(file.context(USAGE)?)?;
    show(&checkpoint)?;
    match out {
        Some(out) => pollster::block_on(through_gpu(&checkpoint, Path::new(&out), adapter.as_deref())),
        None => Ok(()),
    }
}

fn show(checkpoint: &Checkpoint) -> Result<()> {
    println!("{}\n", checkpoint.state_dict()?);
    for (name, dtype, shape) in checkpoint.tensors().filter(|(name, ..)| !name.starts_with("optimizer.state.")) {
        println!("{name}: {dtype:?} {shape:?}");
    }
    for (key, value) in checkpoint.metadata().iter().filter(|(key, _)| *key != "optimizer") {
        println!("{key} = {value}");
    }
    Ok(())
}

async fn through_gpu(checkpoint: &Checkpoint, out: &Path, adapter: Option<&str>) -> Result<()> {
    let gpu = Gpu::full(&select(adapters().await, adapter)?).await?;
    let groups: Vec<ParamGroup> =
        checkpoint.outline().param_groups.iter().map(|saved| group(&gpu, checkpoint, saved)).collect::<Result<_>>()?;
    let mut adam = WgpuAdam::new(&gpu.device, &gpu.queue, groups, AdamConfig::default())?;
    adam.load_from(checkpoint).await?;
    adam.save_checkpoint_with(out, &CheckpointContents::new().keep(checkpoint)).await?;
    println!("\nwritten from {}: {}", gpu.adapter_name, out.display());
    Ok(())
}

/// A group of parameters with the shapes of the model in the file.
fn group(gpu: &Gpu, checkpoint: &Checkpoint, saved: &StateGroup) -> Result<ParamGroup> {
    let buffer = |elements: usize| {
        gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 4 * elements.max(1) as u64,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    };
    let names = saved.param_names.as_deref().unwrap_or_default();
    let params = names.iter().map(|name| {
        let shape = checkpoint.tensor(&format!("model.{name}"))?.shape().to_vec();
        let elements = shape.iter().product();
        Ok(Param::new(name, shape, &buffer(elements), &buffer(elements)))
    });
    Ok(ParamGroup::new(params.collect::<Result<Vec<_>>>()?))
}
