//! A run that continues from the state at a lost device.

use anyhow::{Result, ensure};
use wgpu_adam::{AdamConfig, Error, StateDict, TensorArena, WgpuAdam};

use crate::{Gpu, readback::read_tensor, twin::same_bits, values::values};

const LENGTHS: [(&str, u64); 3] = [("a", 1000), ("b", 33), ("c", 7)];
const STEPS: u64 = 10;

/// Steps `from..to` of one run, on tensors with these values.
async fn go_on(gpu: &Gpu, from: u64, to: u64, start: &Carried) -> Result<(TensorArena, WgpuAdam)> {
    let shapes = LENGTHS.map(|(name, length)| (name, [length as usize]));
    let arena = TensorArena::new(&gpu.device, shapes)?;
    for ((name, _), values) in LENGTHS.iter().zip(&start.params) {
        arena.write_param(&gpu.queue, name, values)?;
    }
    let config = AdamConfig { lr: 0.01, weight_decay: 0.1, amsgrad: true, ..Default::default() };
    let mut adam = WgpuAdam::new(&gpu.device, &gpu.queue, arena.params(), config)?;
    if let Some(dict) = &start.dict {
        adam.load_state_dict(dict).await?;
    }
    for step in from..to {
        for (number, (name, length)) in (1..).zip(LENGTHS) {
            arena.write_grad(&gpu.queue, name, &values(100 * step + number, length))?;
        }
        adam.step()?;
    }
    Ok((arena, adam))
}

/// The data that an application keeps.
struct Carried {
    params: Vec<Vec<f32>>,
    dict: Option<StateDict>,
}

async fn carried(gpu: &Gpu, arena: &TensorArena, adam: &WgpuAdam) -> Result<Carried> {
    let mut params = Vec::new();
    for (name, length) in LENGTHS {
        params.push(read_tensor(gpu, &arena.param_buffer(name)?, length).await?);
    }
    Ok(Carried { params, dict: Some(adam.state_dict().await?) })
}

pub async fn goes_on(gpu: &Gpu) -> Result<()> {
    let initial = Carried { params: LENGTHS.map(|(_, length)| values(length, length)).to_vec(), dict: None };
    let (arena, adam) = go_on(gpu, 0, STEPS, &initial).await?;
    let want = carried(gpu, &arena, &adam).await?;

    let lost = Gpu::default_limits(&gpu.adapter).await?;
    let (arena, mut adam) = go_on(&lost, 0, STEPS / 2, &initial).await?;
    let kept = carried(&lost, &arena, &adam).await?;
    adam.step()?;
    lost.device.destroy();
    // The first steps may succeed without noticing the loss.
    let _ = adam.step();
    let refused = adam.state_dict().await;
    let is_told = match &refused {
        Err(Error::DeviceLost { what }) => what == "the copy of the state",
        Err(Error::Device { message, .. }) => cfg!(target_family = "wasm") && message.contains("lost"),
        _ => false,
    };
    ensure!(is_told, "a state dict of a lost device: {refused:?}");

    let new = Gpu::default_limits(&gpu.adapter).await?;
    let (arena, adam) = go_on(&new, STEPS / 2, STEPS, &kept).await?;
    let got = carried(&new, &arena, &adam).await?;
    for ((name, _), (got, want)) in LENGTHS.iter().zip(got.params.iter().zip(&want.params)) {
        same_bits(name, got, want)?;
    }
    ensure!(got.dict == want.dict, "the state differs");
    lost.check_errors()?;
    new.check_errors()
}
