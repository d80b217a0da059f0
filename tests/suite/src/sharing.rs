//! Optimizers on one device share its pipelines and nothing else: each steps as if it were alone, while others come and
//! go.

use anyhow::{Context, Result};
use wgpu_adam::{AdamConfig, GradientControl, LossScale, ParamGroup, TensorArena, WgpuAdam};

use crate::{Body, Gpu, body, readback::read_tensor, twin::same_bits, values::values};

pub const BODIES: &[(&str, Body)] =
    &[body!("sharing/optimizers come and go, and each steps as if alone", gpu => come_and_go(gpu))];

const LENGTHS: [(&str, u64); 4] = [("a", 1000), ("b", 33), ("c", 7), ("d", 1)];
const STEPS: u64 = 6;

/// An optimizer's name, its options, and its gradient control.
type Case = (&'static str, AdamConfig, GradientControl);

fn cases() -> [Case; 5] {
    let config = AdamConfig { lr: 0.01, weight_decay: 0.1, ..Default::default() };
    let none = GradientControl::default();
    let clip = GradientControl { max_norm: Some(0.5), ..none };
    let dynamic = LossScale::Dynamic { init_scale: 8.0, growth_factor: 2.0, backoff_factor: 0.5, growth_interval: 2 };
    [
        ("plain", config, none),
        ("plain again, at another rate", AdamConfig { lr: 0.02, ..config }, none),
        ("amsgrad, decoupled", AdamConfig { amsgrad: true, decoupled_weight_decay: true, ..config }, none),
        ("clipped", config, clip),
        (
            "amsgrad, clipped, a dynamic scale",
            AdamConfig { amsgrad: true, ..config },
            GradientControl { loss_scale: dynamic, ..clip },
        ),
    ]
}

struct Run {
    arena: TensorArena,
    adam: WgpuAdam,
    steps: u64,
}

impl Run {
    async fn begin(gpu: &Gpu, (_, config, control): &Case) -> Result<Self> {
        let arena = TensorArena::new(&gpu.device, LENGTHS.map(|(name, length)| (name, [length as usize])))?;
        for (number, (name, length)) in (0..).zip(LENGTHS) {
            arena.write_param(&gpu.queue, name, &values(number, length))?;
        }
        // The last tensor is in a separate group.
        let mut params = arena.params();
        let last = params.pop().context("no tensors")?;
        let groups = [ParamGroup::new(params), ParamGroup::new([last]).lr(0.1)];
        let mut adam = WgpuAdam::new(&gpu.device, &gpu.queue, groups, *config)?;
        adam.set_gradient_control(*control)?;
        adam.ready().await?;
        Ok(Self { arena, adam, steps: 0 })
    }

    fn step(&mut self, gpu: &Gpu) -> Result<()> {
        self.steps += 1;
        for (number, (name, length)) in (1..).zip(LENGTHS) {
            self.arena.write_grad(&gpu.queue, name, &values(100 * self.steps + number, length))?;
        }
        self.adam.step()?;
        Ok(())
    }

    async fn values(&self, gpu: &Gpu) -> Result<Vec<Vec<f32>>> {
        self.adam.ready().await?;
        let mut all = Vec::new();
        for (name, length) in LENGTHS {
            all.push(read_tensor(gpu, &self.arena.param_buffer(name)?, length).await?);
        }
        Ok(all)
    }
}

async fn come_and_go(gpu: &Gpu) -> Result<()> {
    let cases = cases();
    let mut alone = Vec::new();
    for case in &cases {
        let own = Gpu::default_limits(&gpu.adapter).await?;
        let mut run = Run::begin(&own, case).await?;
        for _ in 0..STEPS {
            run.step(&own)?;
        }
        alone.push(run.values(&own).await?);
        own.check_errors()?;
    }

    let shared = Gpu::default_limits(&gpu.adapter).await?;
    // Each starts one step after the one before. After its last step it is dropped and starts again.
    let mut running: Vec<Option<Run>> = cases.iter().map(|_| None).collect();
    for round in 0..3 * STEPS {
        for (number, ((case, want), run)) in (0..).zip(cases.iter().zip(&alone).zip(&mut running)) {
            if round < number {
                continue;
            }
            let mut now = match run.take() {
                Some(run) => run,
                None => Run::begin(&shared, case).await?,
            };
            now.step(&shared)?;
            if now.steps < STEPS {
                *run = Some(now);
                continue;
            }
            for ((name, _), (got, want)) in LENGTHS.iter().zip(now.values(&shared).await?.iter().zip(want)) {
                same_bits(&format!("{}: {name}", case.0), got, want)?;
            }
        }
    }
    shared.check_errors()
}
