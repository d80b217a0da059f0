//! Running averages with small betas, down to nearly none.

use anyhow::{Result, bail};
use wgpu_adam::{AdamConfig, Param, ParamGroup, WgpuAdam};

use crate::{Body, Gpu, body, golden::Key, readback::read_state, reference::Reference, twin::storage};

pub const BODIES: &[(&str, Body)] = &[body!("averages/small betas", gpu => small_betas(gpu))];

const BETAS: [f64; 8] = [0.0, 1e-30, 1e-4, 0.1, 0.49, 0.5, 0.9, 0.999];

/// Every pair of betas, with and without maximize: a step with gradients, two with zero gradients, in which the
/// averages decay, and another with gradients.
async fn small_betas(gpu: &Gpu) -> Result<()> {
    let first = [1.0_f32, -0.75, 3e4, -1e-3, 0.3];
    let steps = [first, [0.0; 5], [0.0; 5], [-0.5, 0.25, 1e4, 2e-3, 0.3]];
    let mut wrong = Vec::new();
    for maximize in [false, true] {
        let grad = storage(gpu, 4 * 5);
        let (mut groups, mut tensors) = (Vec::new(), Vec::new());
        for beta1 in BETAS {
            for beta2 in BETAS {
                let (config, param) =
                    (AdamConfig { betas: (beta1, beta2), maximize, ..Default::default() }, storage(gpu, 20));
                groups.push(
                    ParamGroup::new([Param::new(format!("{beta1} {beta2}"), [5], &param, &grad)])
                        .betas(config.betas)
                        .maximize(maximize),
                );
                tensors.push((config, Reference::new(&[0.0; 5])));
            }
        }
        let mut adam = WgpuAdam::new(&gpu.device, &gpu.queue, groups, AdamConfig::default())?;
        for (step, gradient) in steps.iter().enumerate() {
            gpu.queue.write_buffer(&grad, 0, bytemuck::cast_slice(gradient));
            adam.step()?;
            for ((config, reference), id) in tensors.iter_mut().zip(adam.param_groups().iter().map(|g| g.params()[0])) {
                // The sizes of the two terms of each average. The error may be no more than a few roundings of them.
                let (beta1, beta2) = config.betas;
                let sizes: Vec<[f64; 2]> = (0..5)
                    .map(|i| {
                        let g = f64::from(gradient[i]);
                        let (m, v) = (reference.exp_avg[i].abs(), reference.exp_avg_sq[i]);
                        [beta1 * m + (1.0 - beta1) * g.abs(), beta2 * v + (1.0 - beta2) * g * g]
                    })
                    .collect();
                reference.step(gradient, config);
                let state = adam.state(id)?;
                for (which, key) in [Key::ExpAvg, Key::ExpAvgSq].into_iter().enumerate() {
                    let want = [&reference.exp_avg, &reference.exp_avg_sq][which];
                    for (i, got) in read_state(gpu, &state, key).await?.into_iter().enumerate() {
                        let off = (f64::from(got) - want[i]).abs();
                        let allowed = (step + 1) as f64 * 2e-7 * sizes[i][which] + f64::from(f32::MIN_POSITIVE);
                        if off.is_nan() || off > allowed {
                            let case = format!("betas {beta1:e} and {beta2:e}, maximize {maximize}, step {}", step + 1);
                            wrong.push(format!("{case}: {key} [{i}] got {got:e}, want {:e}", want[i]));
                        }
                    }
                }
            }
        }
    }
    match wrong.len() {
        0 => Ok(()),
        count => bail!("{count} averages are off:\n  {}", wrong[..count.min(20)].join("\n  ")),
    }
}
