//! Norms of gradients and the resulting factors, compared with float64 and torch's records.

use anyhow::{Result, ensure};
use serde::Deserialize;
use wgpu_adam::{GradientControl, LossScale, NormType};

use super::rig::{Rig, relative};
use crate::{
    Gpu,
    golden::Norm,
    plain::{clip_factor, norm},
    values::{value, values},
};

/// The relative error that a norm may have against float64.
pub const NORM_ERROR: f64 = 5e-7;
/// The same for a factor, which is computed from a norm, a sum and a quotient.
const FACTOR_ERROR: f64 = NORM_ERROR + 2.0 * f32::EPSILON as f64;

/// `norms.json`: the README beside it describes it.
#[derive(Deserialize)]
struct Record {
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    name: String,
    stream: u64,
    lengths: Vec<u64>,
    exponent: i32,
    spread: u64,
    norm_type: Norm,
    max_norm: f64,
    norm_f64: f64,
    factor_f64: f64,
}

impl Row {
    fn grad(&self, tensor: usize) -> Vec<f32> {
        let power = self.exponent - (5 * tensor as u64 % (self.spread + 1)) as i32;
        let grad = |i| (f64::from(value(self.stream + tensor as u64, i)) * 2.0_f64.powi(power)) as f32;
        (0..self.lengths[tensor]).map(grad).collect()
    }
}

/// Checks the norm and the factor that the last step reports.
async fn check(rig: &Rig<'_>, case: &str, want: f64, factor: f64, allowed: f64) -> Result<()> {
    let told = rig.adam.statistics().await?;
    let off = relative(told.grad_norm, want);
    ensure!(off <= allowed, "{case}: norm {:e} instead of {want:e}, off by {off:.1e}", told.grad_norm);
    let off = relative(told.clip_factor, factor);
    ensure!(off <= FACTOR_ERROR, "{case}: factor {:e} instead of {factor:e}, off by {off:.1e}", told.clip_factor);
    ensure!(!told.found_inf, "{case}: found_inf");
    Ok(())
}

pub async fn recorded(gpu: &Gpu) -> Result<()> {
    let record: Record =
        serde_json::from_str(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/control/norms.json")))?;
    ensure!(record.rows.len() > 40, "{} rows", record.rows.len());
    let mut rigs: Vec<Rig<'_>> = Vec::new();
    for row in &record.rows {
        if rigs.first().is_none_or(|rig| rig.tensors.iter().map(|t| t.length).ne(row.lengths.iter().copied())) {
            let make = |alone| if alone { Rig::alone } else { Rig::in_arena };
            // Hundreds of buffers are slow to create, and test no more than tens.
            let places: &[bool] = if row.lengths.len() <= 30 { &[false, true] } else { &[false] };
            let rig = |&alone| make(alone)(gpu, &row.lengths, GradientControl::default());
            rigs = places.iter().map(rig).collect::<Result<_>>()?;
        }
        // The largest magnitude is exact, in whatever order it is found.
        let (norm_type, allowed) = match row.norm_type {
            Norm::Two => (NormType::Two, NORM_ERROR),
            Norm::Infinity => (NormType::Infinity, 0.0),
        };
        for (place, rig) in rigs.iter_mut().enumerate() {
            let max_norm = Some(row.max_norm);
            rig.adam.set_gradient_control(GradientControl { max_norm, norm_type, ..Default::default() })?;
            for index in 0..row.lengths.len() {
                rig.write_grad(index, row.grad(index));
            }
            rig.adam.step()?;
            let case = format!("{}, placement {place}", row.name);
            check(rig, &case, row.norm_f64, row.factor_f64, allowed).await?;
        }
    }
    Ok(())
}

/// Magnitudes whose squares float32 cannot hold, alone and beside each other.
pub async fn extremes(gpu: &Gpu) -> Result<()> {
    let sizes: [&[f32]; 16] = [
        &[1e20],
        &[1e25],
        &[1e30],
        &[1e30, 1e20, 1.0],
        &[3e37],
        &[1e-20],
        &[1e-25],
        &[1e-30],
        &[1e-36],
        &[1e-25, 1.0],
        &[1e-25, 1e25],
        &[1e-12, 1e-11, 1e-10, 1e-13],
        &[1e12, 1e11, 1e10, 1e13],
        &[1.0, 1e-3, 1e3, 1e-6, 1e6],
        // By tensor: sums beyond the middling and sums within, of which neither is nothing beside the other.
        &[2e15, 1e14],
        &[1e-30, 1e-20, 1e-10, 1.0, 1e10, 1e20, 1e30],
    ];
    let lengths = [37, 1, 258, (1 << 18) + 6];
    let mut rig = Rig::alone(gpu, &lengths, GradientControl::default())?;
    let scales = [(LossScale::None, 1.0), (LossScale::Fixed(1024.0), 1024.0), (LossScale::Fixed(0.1), 0.1)];
    for (number, sizes) in (0..).zip(sizes) {
        // One size per element in turn, or one per tensor.
        for by_tensor in [false, true] {
            for (index, &length) in lengths.iter().enumerate() {
                let size = |i: usize| sizes[if by_tensor { index } else { i } % sizes.len()];
                let grad = values(31 * number + index as u64, length).into_iter().enumerate();
                // Avoids denormals, which adapters may flush.
                rig.write_grad(index, grad.map(|(i, x)| size(i) * if x < 0.0 { x - 0.5 } else { x + 0.5 }).collect());
            }
            for (norm_type, name) in [(NormType::Two, "two"), (NormType::Infinity, "infinity")] {
                for (loss_scale, scale) in scales {
                    let want = norm(rig.grads(), norm_type) / scale;
                    // Skips norms that are infinite or that adapters may flush.
                    if !(f64::from(f32::MIN_POSITIVE)..=f64::from(f32::MAX)).contains(&want) {
                        continue;
                    }
                    let bound = want / 3.0;
                    // A bound is an f32, and must not be denormal.
                    let max_norm = (bound > 1e-37).then_some(bound);
                    rig.adam.set_gradient_control(GradientControl {
                        max_norm,
                        norm_type,
                        loss_scale,
                        skip_nonfinite: true,
                        ..Default::default()
                    })?;
                    rig.adam.step()?;
                    let case = format!("{sizes:?} over {scale}, norm {name}, a size for each tensor: {by_tensor}");
                    let factor = max_norm.map_or(1.0, |bound| clip_factor(want, bound));
                    check(&rig, &case, want, factor, NORM_ERROR).await?;
                }
            }
        }
    }
    Ok(())
}

/// Sums of so many squares that adding them one by one would lose digits.
pub async fn many(gpu: &Gpu) -> Result<()> {
    let lengths = [(1 << 22) + 3, 1000];
    let control = GradientControl { max_norm: Some(1.0), ..Default::default() };
    let mut rig = Rig::alone(gpu, &lengths, control)?;
    type Grad = fn(u64) -> f32;
    let kinds: [(&str, Grad); 4] = [
        ("all the same", |_| 0.7),
        ("random", |i| value(3, i)),
        ("falling", |i| 1.0 / (1.0 + i as f32)),
        ("rising", |i| i as f32),
    ];
    for (name, grad) in kinds {
        for (index, length) in lengths.into_iter().enumerate() {
            rig.write_grad(index, (0..length).map(grad).collect());
        }
        rig.adam.step()?;
        let want = norm(rig.grads(), NormType::Two);
        check(&rig, name, want, clip_factor(want, 1.0), NORM_ERROR).await?;
    }
    Ok(())
}
