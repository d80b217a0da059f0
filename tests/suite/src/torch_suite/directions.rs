//! The problem of torch's suite: the loss |W x + b|^2 falls, or rises with maximize.

use anyhow::{Result, ensure};
use wgpu_adam::{ParamGroup, TensorBuffer};

use super::{check, configurations, grouped, read_params, schedules::SCHEDULES, step, write_grad};
use crate::{
    Gpu,
    twin::{Twin, TwinTensor, storage},
    values::values,
};

const ROWS: u64 = 10;
const COLUMNS: u64 = 5;
/// The learning rate of the bias when it is in a separate group.
const BIAS_LR: f64 = 0.01;

/// The placement of weight and bias.
#[derive(Clone, Copy, Debug)]
pub enum Layout {
    /// In separate buffers: torch's contiguous tensors.
    Own,
    /// At odd offsets in one buffer with their gradients, instead of torch's strides.
    Offsets,
}

/// A weight and its bias.
pub fn problem(gpu: &Gpu, name: &str, layout: Layout) -> [TwinTensor; 2] {
    let names = [(format!("{name}.weight"), ROWS * COLUMNS), (format!("{name}.bias"), ROWS)];
    match layout {
        Layout::Own => names.map(|(name, length)| TwinTensor::alone(gpu, &name, length)),
        Layout::Offsets => {
            let buffer = storage(gpu, 4 * 160);
            let mut places = [(3, 81), (61, 141)].into_iter();
            names.map(|(name, length)| {
                let (param, grad) = places.next().unwrap_or_default();
                let at = |start: u64| TensorBuffer::from((&buffer, start * 4));
                TwinTensor::new(gpu, &name, length, at(param), at(grad))
            })
        }
    }
}

/// The loss, and its gradients for weight and bias. A mean instead of torch's sum, because [`Twin::check`] expects
/// gradients of about 1.
fn loss(weight: &[f32], bias: &[f32]) -> (f64, [Vec<f32>; 2]) {
    let x: Vec<f64> = values(77, COLUMNS).into_iter().map(f64::from).collect();
    let rows = ROWS as f64;
    let (mut loss, mut weight_grad, mut bias_grad) = (0.0, Vec::new(), Vec::new());
    for (row, bias) in weight.chunks_exact(x.len()).zip(bias) {
        let y = row.iter().zip(&x).map(|(weight, x)| f64::from(*weight) * x).sum::<f64>() + f64::from(*bias);
        loss += y * y / rows;
        weight_grad.extend(x.iter().map(|x| (2.0 * y * x / rows) as f32));
        bias_grad.push((2.0 * y / rows) as f32);
    }
    (loss, [weight_grad, bias_grad])
}

/// Writes the gradients of a twin whose tensors alternate between weights and biases. Returns the loss of each pair.
pub async fn backward(twin: &mut Twin<'_>) -> Result<Vec<f64>> {
    let params = read_params(twin).await?;
    let mut losses = Vec::new();
    for (number, pair) in params.chunks_exact(2).enumerate() {
        let (loss, [weight_grad, bias_grad]) = loss(&pair[0], &pair[1]);
        write_grad(twin, 2 * number, weight_grad);
        write_grad(twin, 2 * number + 1, bias_grad);
        losses.push(loss);
    }
    Ok(losses)
}

/// Every configuration with every schedule, contiguous and not. One optimizer has all problems of a configuration, each
/// in a separate group, so this also tests that groups do not affect each other.
pub async fn one_group(gpu: &Gpu, steps: i32) -> Result<()> {
    run(gpu, steps, false).await
}

/// The same with weight and bias in separate groups, the bias with its own learning rate.
pub async fn two_groups(gpu: &Gpu, steps: i32) -> Result<()> {
    run(gpu, steps, true).await
}

async fn run(gpu: &Gpu, steps: i32, split: bool) -> Result<()> {
    let cases: Vec<_> = SCHEDULES
        .into_iter()
        .flat_map(|(name, schedule)| {
            [Layout::Own, Layout::Offsets].map(|layout| (format!("{name}, {layout:?}"), schedule, layout))
        })
        .collect();
    let each = if split { 2 } else { 1 };
    for (configuration, config) in configurations() {
        let mut groups = Vec::new();
        for (name, _, layout) in &cases {
            let pair = problem(gpu, name, *layout);
            if split {
                let [weight, bias] = pair;
                groups.push((vec![weight], Box::new(|group| group) as Box<dyn Fn(ParamGroup) -> ParamGroup>));
                groups.push((vec![bias], Box::new(|group: ParamGroup| group.lr(BIAS_LR))));
            } else {
                groups.push((pair.into(), Box::new(|group| group)));
            }
        }
        let mut twin = grouped(gpu, groups, config)?;
        let mut losses: Vec<Vec<f64>> = vec![Vec::new(); cases.len()];
        for t in 0..steps {
            for (losses, loss) in losses.iter_mut().zip(backward(&mut twin).await?) {
                losses.push(loss);
            }
            for (number, ((_, schedule, _), losses)) in cases.iter().zip(&losses).enumerate() {
                // torch's plateau schedule sees a step's loss after the step.
                let factor = schedule(t, &losses[..t as usize]);
                twin.adam.set_lr(each * number, config.lr * factor)?;
                if split {
                    twin.adam.set_lr(each * number + 1, BIAS_LR * factor)?;
                }
            }
            step(&mut twin)?;
        }
        let last = backward(&mut twin).await?;
        for (((name, ..), losses), last) in cases.iter().zip(&losses).zip(last) {
            let first = losses[0];
            let right = if config.maximize { last > first } else { last < first };
            ensure!(right, "{configuration}: {name}: the loss was {first} and is {last} after {steps} steps");
        }
        check(&twin, &configuration, config.lr.max(BIAS_LR)).await?;
    }
    Ok(())
}
