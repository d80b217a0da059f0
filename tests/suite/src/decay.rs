//! Decoupled weight decay over thousands of steps, compared with torch's own float32 run; and on values that are not
//! finite.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use wgpu_adam::{AdamConfig, Param, ParamGroup, TensorArena, WgpuAdam};

use crate::{
    Body, Gpu, body,
    readback::{read_f32, read_tensor},
    reference::Reference,
    twin::{TwinTensor, storage},
    values::values,
};

pub const BODIES: &[(&str, Body)] = &[
    body!("decay/3,000 steps of AdamW beside torch", gpu => beside_torch(gpu)),
    body!("decay/with zero gradients", gpu => with_zero_gradients(gpu)),
    body!("decay/none is Adam", gpu => none_is_adam(gpu)),
    body!("decay/of what is not finite", gpu => of_what_is_not_finite(gpu)),
];

/// The records of `make_decay.py`, in the same folder as the data.
#[derive(Deserialize)]
pub struct Recorded {
    pub steps: u64,
    /// Number of elements at the start that have gradients.
    pub moving: u64,
    /// Number of elements at the end whose gradients are zero.
    pub resting: u64,
    pub cases: Vec<Recording>,
}

#[derive(Deserialize)]
pub struct Recording {
    pub lr: f64,
    pub weight_decay: f64,
    pub torch_rms: Parts,
    pub torch_param: Vec<f32>,
}

/// The rms error against float64 of the elements with gradients and of those without.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Parts {
    pub moving: f64,
    pub resting: f64,
}

impl Recorded {
    pub fn load() -> Result<Self> {
        let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/decay/decay.json"));
        serde_json::from_str(text).context("decay.json")
    }

    pub fn start(&self) -> Vec<f32> {
        values(0, self.moving + self.resting).iter().map(|value| 2.0 * value).collect()
    }

    /// Gradients of the elements that have one. Each operation is exact, or rounds as numpy does.
    pub fn gradient(&self, step: u64) -> Vec<f32> {
        let (drift, noise) = (values(1, self.moving), values(1 + step, self.moving));
        let sizes = (0..12).cycle().map(|halvings| (-f32::from(halvings as u8)).exp2());
        drift.iter().zip(&noise).zip(sizes).map(|((drift, noise), size)| (0.5 * drift + noise) * size).collect()
    }

    /// The parameters of the last step.
    pub fn reference(&self, case: &Recording) -> Vec<f64> {
        let config = case.config();
        let mut reference = Reference::new(&self.start());
        for step in 1..=self.steps {
            let mut grad = self.gradient(step);
            grad.resize((self.moving + self.resting) as usize, 0.0);
            reference.step(&grad, &config);
        }
        reference.param
    }

    pub fn rms(&self, got: &[f32], want: &[f64]) -> Parts {
        let squares: Vec<f64> = got.iter().zip(want).map(|(&got, want)| (f64::from(got) - want).powi(2)).collect();
        let (moving, resting) = squares.split_at(self.moving as usize);
        let root = |squares: &[f64]| (squares.iter().sum::<f64>() / squares.len() as f64).sqrt();
        Parts { moving: root(moving), resting: root(resting) }
    }
}

impl Recording {
    pub fn config(&self) -> AdamConfig {
        AdamConfig { lr: self.lr, weight_decay: self.weight_decay, ..AdamConfig::adamw() }
    }

    /// The relative error of the decay by torch's float32 factor, 1 - lr weight_decay.
    fn off(&self) -> f64 {
        let decay = self.lr * self.weight_decay;
        ((1.0 - f64::from((1.0 - decay) as f32)) / decay - 1.0).abs()
    }
}

/// Steps per encoder.
const BATCH: u64 = 100;

/// One group per configuration, over the values `start` of each, all with the same gradients.
fn groups(gpu: &Gpu, starts: &[(AdamConfig, Vec<f32>)], grad: &wgpu::Buffer) -> Result<(WgpuAdam, TensorArena)> {
    let named = starts.iter().enumerate().map(|(number, (_, start))| (number.to_string(), [start.len()]));
    let arena = TensorArena::new(&gpu.device, named)?;
    let mut groups = Vec::new();
    for (number, (config, start)) in starts.iter().enumerate() {
        let name = number.to_string();
        arena.write_param(&gpu.queue, &name, start)?;
        let param = Param::new(name.clone(), [start.len()], arena.param_buffer(&name)?, grad);
        let &AdamConfig { lr, betas, eps, weight_decay, amsgrad, maximize, decoupled_weight_decay } = config;
        let group = ParamGroup::new([param]).lr(lr).betas(betas).eps(eps).weight_decay(weight_decay);
        groups.push(group.amsgrad(amsgrad).maximize(maximize).decoupled_weight_decay(decoupled_weight_decay));
    }
    Ok((WgpuAdam::new(&gpu.device, &gpu.queue, groups, AdamConfig::default())?, arena))
}

async fn beside_torch(gpu: &Gpu) -> Result<()> {
    let recorded = Recorded::load()?;
    let length = recorded.moving + recorded.resting;
    let (bytes, grad) = (4 * recorded.moving, storage(gpu, 4 * length));
    let gradients: Vec<f32> = (1..=recorded.steps).flat_map(|step| recorded.gradient(step)).collect();
    let source = storage(gpu, 4 * gradients.len() as u64);
    gpu.queue.write_buffer(&source, 0, bytemuck::cast_slice(&gradients));
    let starts: Vec<_> = recorded.cases.iter().map(|case| (case.config(), recorded.start())).collect();
    let (mut adam, arena) = groups(gpu, &starts, &grad)?;
    for batch in 0..recorded.steps / BATCH {
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        for step in batch * BATCH..(batch + 1) * BATCH {
            encoder.copy_buffer_to_buffer(&source, step * bytes, &grad, 0, bytes);
            adam.record_step(&mut encoder)?;
        }
        gpu.queue.submit([encoder.finish()]);
    }
    let mut wrong = Vec::new();
    for (number, case) in recorded.cases.iter().enumerate() {
        let got = read_tensor(gpu, &arena.param_buffer(&number.to_string())?, length).await?;
        let ours = recorded.rms(&got, &recorded.reference(case));
        let Recording { lr, weight_decay, torch_rms: torch, .. } = case;
        let row = format!(
            "lr {lr}, weight_decay {weight_decay}: with gradients {:.2e}, torch {:.2e}, {:.3}; with zero gradients \
             {:.2e}, torch {:.2e}, {:.3}",
            ours.moving,
            torch.moving,
            ours.moving / torch.moving,
            ours.resting,
            torch.resting,
            ours.resting / torch.resting
        );
        log::info!("{row}");
        // If torch's factor happens to be right, only rounding errors are left.
        let share = if case.off() > 1e-3 { 0.2 } else { 1.0 };
        // A parameter without a gradient loses a whole number of ULPs at each step, here and in torch.
        if ours.moving > share * torch.moving || ours.resting > torch.resting {
            wrong.push(format!("{row}; allowed: {share} and 1 times torch's"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { bail!("rms errors against float64:\n  {}", wrong.join("\n  ")) }
}

/// At each step a parameter loses a whole number of ULPs. So the parameters are spread evenly around a value whose
/// exact loss is half an ULP more than a whole number: rounding errors cancel, and the average loss is the decay that
/// was applied.
async fn with_zero_gradients(gpu: &Gpu) -> Result<()> {
    const STEPS: i32 = 100;
    const LENGTH: u64 = 4096;
    let mut starts = Vec::new();
    for lr in [1e-3, 3e-4, 1e-4, 1e-5] {
        for weight_decay in [0.01, 0.1] {
            let config = AdamConfig { lr, weight_decay, ..AdamConfig::adamw() };
            // The loss of a number from 1 to 2 is that number times `ulps`, in ULPs.
            let ulps = lr * weight_decay * 2.0_f64.powi(23);
            let centre = (1.5 * ulps - 0.5).round() + 0.5;
            let reach = (centre - 1.05 * ulps).min(1.95 * ulps - centre);
            let place = |i| (2.0 * i as f64 + 1.0) / LENGTH as f64 - 1.0;
            let start = (0..LENGTH).map(|i| ((centre + reach * place(i)) / ulps) as f32).collect();
            starts.push((config, start));
        }
    }
    let grad = storage(gpu, 4 * LENGTH);
    let (mut adam, arena) = groups(gpu, &starts, &grad)?;
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    for _ in 0..STEPS {
        adam.record_step(&mut encoder)?;
    }
    gpu.queue.submit([encoder.finish()]);
    let mut wrong = Vec::new();
    for (number, (config, start)) in starts.iter().enumerate() {
        let got = read_tensor(gpu, &arena.param_buffer(&number.to_string())?, LENGTH).await?;
        let sum = |values: &[f32]| values.iter().copied().map(f64::from).sum::<f64>();
        let left = sum(&got) / sum(start);
        let applied = -(left.ln() / f64::from(STEPS)).exp_m1();
        let want = config.lr * config.weight_decay;
        let off = applied / want - 1.0;
        log::info!("lr {}, weight_decay {}: decay {applied:e}, off by {off:.1e}", config.lr, config.weight_decay);
        if off.is_nan() || off.abs() > 1e-4 {
            wrong.push(format!("got {applied:e}, want {want:e}: off by {off:.1e}"));
        }
    }
    ensure!(wrong.is_empty(), "decay of a step, allowed 1e-4:\n  {}", wrong.join("\n  "));
    Ok(())
}

/// The bits, with one NaN for all.
fn bits(x: f32) -> u32 {
    if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() }
}

/// A decoupled decay of 0 gives the bits of a run without decay, because torch skips the multiplication then.
async fn none_is_adam(gpu: &Gpu) -> Result<()> {
    let special = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, f32::MIN, 0.0, -0.0, f32::MIN_POSITIVE];
    for (amsgrad, maximize, zero) in [(false, false, false), (true, true, false), (false, false, true)] {
        let start: Vec<f32> = special.into_iter().chain(values(5, 301)).collect();
        let length = start.len() as u64;
        let config = |decoupled_weight_decay| AdamConfig {
            decoupled_weight_decay,
            amsgrad,
            maximize,
            lr: 0.01,
            ..AdamConfig::default()
        };
        let grad = storage(gpu, 4 * length);
        let starts = [false, true].map(|decoupled| (config(decoupled), start.clone()));
        let (mut adam, arena) = groups(gpu, &starts, &grad)?;
        for step in 0..20 {
            if !zero {
                gpu.queue.write_buffer(&grad, 0, bytemuck::cast_slice(&values(70 + step, length)));
            }
            adam.step()?;
        }
        let plain = read_tensor(gpu, &arena.param_buffer("0")?, length).await?;
        let decoupled = read_tensor(gpu, &arena.param_buffer("1")?, length).await?;
        for (i, (got, want)) in decoupled.iter().zip(&plain).enumerate() {
            ensure!(
                bits(*got) == bits(*want),
                "amsgrad {amsgrad}, maximize {maximize}, zero gradients {zero} [{i}]: got {got:e}, Adam has {want:e}"
            );
        }
    }
    Ok(())
}

/// A parameter that is not finite, or large, gets the value of `p.mul_(1 - lr * weight_decay)`.
async fn of_what_is_not_finite(gpu: &Gpu) -> Result<()> {
    const INFINITY: f32 = f32::INFINITY;
    const NAN: f32 = f32::NAN;
    // lr is 1. Results of torch, with a gradient of 0.5.
    let before = [INFINITY, -INFINITY, NAN, f32::MAX, 1e38, 8.0];
    let cases: [(f64, [f32; 6]); 6] = [
        (0.0, [INFINITY, -INFINITY, NAN, f32::MAX, 1e38, 7.0]),
        (1e-6, [INFINITY, -INFINITY, NAN, 3.402_82e38, 9.999_99e37, 6.999_992]),
        (0.5, [INFINITY, -INFINITY, NAN, 1.701_411_7e38, 5e37, 3.0]),
        (1.0, [NAN, NAN, NAN, -1.0, -1.0, -1.0]),
        (1.5, [-INFINITY, INFINITY, NAN, -1.701_411_7e38, -5e37, -5.0]),
        (3.0, [-INFINITY, INFINITY, NAN, -INFINITY, -2e38, -17.0]),
    ];
    for (weight_decay, wanted) in cases {
        let tensor = TwinTensor::alone(gpu, "a", 6);
        gpu.queue.write_buffer(tensor.param.buffer(), 0, bytemuck::cast_slice(&before));
        gpu.queue.write_buffer(tensor.grad.buffer(), 0, bytemuck::cast_slice(&[0.5_f32; 6]));
        let config = AdamConfig { lr: 1.0, weight_decay, ..AdamConfig::adamw() };
        let mut adam = WgpuAdam::new(&gpu.device, &gpu.queue, [tensor.as_param()], config)?;
        adam.step()?;
        let got = read_f32(gpu, tensor.param.buffer(), 0, 6).await?;
        for ((before, got), want) in before.iter().zip(&got).zip(wanted) {
            let close = bits(*got) == bits(want) || (got - want).abs() <= 1e-6 * want.abs();
            ensure!(close, "{before:e}, decay {weight_decay}: got {got:e}, want {want:e}");
        }
    }
    Ok(())
}
