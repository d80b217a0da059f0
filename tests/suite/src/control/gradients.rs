//! Scaling and clamping of gradients, which must not change the gradients' own buffers.

use anyhow::{Result, ensure};
use wgpu_adam::{AdamConfig, GradientControl, LossScale, NormType, Param, WgpuAdam};

use super::rig::{Rig, relative};
use crate::{
    Gpu,
    plain::{clip_factor, norm},
    readback::read_f32,
    twin::{same_bits, storage},
};

/// Sums of micro-batches of a scaled loss: the step and the norm use the mean.
pub async fn accumulated(gpu: &Gpu) -> Result<()> {
    let scales = [
        ("no scale", LossScale::None, 1.0),
        ("a scale", LossScale::Fixed(1024.0), 1024.0),
        ("an odd scale", LossScale::Fixed(0.3), f64::from(0.3_f32)),
        ("a dynamic scale", LossScale::dynamic(), 65536.0),
    ];
    for (name, loss_scale, scale) in scales {
        for accumulate in [1, 3, 4] {
            for max_norm in [None, Some(2.0)] {
                let control = GradientControl { loss_scale, accumulate, max_norm, ..Default::default() };
                let case = format!("{name}, {accumulate} micro-batches, max_norm {max_norm:?}");
                let mut rig = Rig::mixed(gpu, control)?;
                let multiplier = 1.0 / (scale * f64::from(accumulate));
                for round in 0..4 {
                    rig.write_grads(round, scale as f32);
                    rig.adam.step()?;
                    let mut factor = 1.0;
                    if let Some(bound) = max_norm {
                        let want = norm(rig.grads(), NormType::Two) * multiplier;
                        factor = clip_factor(want, bound);
                        let told = rig.adam.statistics().await?;
                        let off = relative(told.grad_norm, want);
                        ensure!(off <= super::norms::NORM_ERROR, "{case}: norm {} is not {want}", told.grad_norm);
                    }
                    rig.took(|grad| grad * multiplier * factor)?;
                }
                rig.check(&case).await?;
                rig.grads_untouched(&case).await?;
            }
        }
    }
    Ok(())
}

/// Each element is clamped after unscaling and after clipping by norm.
pub async fn by_value(gpu: &Gpu) -> Result<()> {
    for max_norm in [None, Some(30.0)] {
        for (loss_scale, scale) in [(LossScale::None, 1.0), (LossScale::Fixed(64.0), 64.0)] {
            for clip_value in [0.1, 0.5, 100.0] {
                let control =
                    GradientControl { max_norm, clip_value: Some(clip_value), loss_scale, ..Default::default() };
                let mut rig = Rig::mixed(gpu, control)?;
                for round in 0..4 {
                    rig.write_grads(round, scale);
                    rig.adam.step()?;
                    let size = norm(rig.grads(), NormType::Two) / f64::from(scale);
                    let factor = max_norm.map_or(1.0, |bound| clip_factor(size, bound));
                    rig.took(|grad| (grad / f64::from(scale) * factor).clamp(-clip_value, clip_value))?;
                }
                let case = format!("clip_value {clip_value}, max_norm {max_norm:?}, scale {scale}");
                rig.check(&case).await?;
                rig.grads_untouched(&case).await?;
            }
        }
    }
    infinite_by_value(gpu).await
}

/// As in torch's clip_grad_value_, infinity becomes the largest value, and NaN stays NaN.
async fn infinite_by_value(gpu: &Gpu) -> Result<()> {
    let control = GradientControl { clip_value: Some(0.5), ..Default::default() };
    let mut results = Vec::new();
    for grads in [[f32::INFINITY, f32::NEG_INFINITY, 3.0, f32::NAN], [0.5, -0.5, 0.5, f32::NAN]] {
        let [param, grad] = [[1.0_f32; 4], grads].map(|numbers| {
            let buffer = storage(gpu, 16);
            gpu.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(&numbers));
            buffer
        });
        let params = vec![Param::new("a", [4], &param, &grad)];
        let mut adam = WgpuAdam::new(&gpu.device, &gpu.queue, params, AdamConfig::default())?;
        adam.set_gradient_control(control)?;
        adam.step()?;
        results.push(read_f32(gpu, &param, 0, 4).await?);
    }
    ensure!(results[0][3].is_nan() && results[1][3].is_nan(), "NaN was clipped: {results:?}");
    same_bits("infinity clipped by value", &results[0][..3], &results[1][..3])
}

/// Gradients are zero after each step, taken or skipped; nothing beside them changes.
pub async fn zeroed(gpu: &Gpu) -> Result<()> {
    let zero = GradientControl { zero_grad_after_step: true, ..Default::default() };
    let clipping = GradientControl { max_norm: Some(0.5), skip_nonfinite: true, ..zero };
    for (name, control) in [("plain", zero), ("clipping", clipping)] {
        let mut rig = Rig::mixed(gpu, control)?;
        let askew = rig.tensors[rig.index("askew")?].grad.buffer().clone();
        gpu.queue.write_buffer(&askew, 0, bytemuck::cast_slice(&[7.0_f32; 1024]));
        for round in 0..6 {
            let case = format!("{name}: step {round}");
            let overflows = control.skip_nonfinite && round == 2;
            // Every second step uses the zeros that the step before left.
            if round % 2 == 0 {
                rig.write_grads(round, 1.0);
            }
            if overflows {
                rig.poke_grad(2, 5, f32::NAN);
            }
            rig.adam.step()?;
            if !overflows {
                let bound = control.max_norm;
                let size = norm(rig.grads(), NormType::Two);
                let factor = bound.map_or(1.0, |bound| clip_factor(size, bound));
                rig.took(|grad| grad * factor)?;
            }
            for (index, got) in rig.read_grads().await?.iter().enumerate() {
                let zeros = vec![0.0; got.len()];
                if rig.tensors[index].grad_values.is_some() {
                    same_bits(&format!("{case}: gradient of {}", rig.tensors[index].name), got, &zeros)?;
                    rig.tensors[index].grad_values = Some(zeros);
                }
            }
        }
        rig.check(name).await?;
        let around = read_f32(gpu, &askew, 0, 1024).await?;
        let (start, end) = (7, 7 + 66);
        let beside = around[..start].iter().chain(&around[end..]);
        ensure!(beside.clone().all(|&x| x == 7.0), "{name}: data beside a gradient was cleared");
    }
    Ok(())
}
