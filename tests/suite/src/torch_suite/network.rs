//! A small network and a 0-dim parameter, with every configuration. torch's suite compares its implementations on them;
//! here different placements of the tensors are compared with each other, and with float64.

use anyhow::{Result, ensure};
use wgpu_adam::{AdamConfig, Param, TensorArena, WgpuAdam};

use super::{check, configurations, read_everything, read_params, write_grad};
use crate::{
    Gpu,
    golden::Key,
    twin::{Twin, TwinTensor, same_bits},
    values::values,
};

const TENSORS: [(&str, &[usize]); 5] = [
    ("first.weight", &[6, 4]),
    ("first.bias", &[6]),
    ("second.weight", &[3, 6]),
    ("second.bias", &[3]),
    ("scale", &[]),
];
/// The first layer, which is frozen for a while.
const FROZEN: std::ops::Range<usize> = 0..2;

#[derive(Clone, Copy, Debug)]
enum Layout {
    Arena,
    Own,
}

fn network(gpu: &Gpu, layout: Layout, config: AdamConfig) -> Result<Twin<'_>> {
    let arena = TensorArena::new(&gpu.device, TENSORS.map(|(name, shape)| (name, shape.to_vec())))?;
    let mut tensors = Vec::new();
    for (name, shape) in TENSORS {
        let length = shape.iter().product::<usize>() as u64;
        tensors.push(match layout {
            Layout::Arena => TwinTensor::new(gpu, name, length, arena.param_buffer(name)?, arena.grad_buffer(name)?),
            Layout::Own => TwinTensor::alone(gpu, name, length),
        });
    }
    let param = |((name, shape), tensor): ((&str, &[usize]), &TwinTensor)| {
        Param::new(name, shape, tensor.param.clone(), tensor.grad.clone())
    };
    let params: Vec<Param> = TENSORS.into_iter().zip(&tensors).map(param).collect();
    let mut twin = Twin::new(gpu, tensors, config)?;
    // A twin's own parameters have one dimension each.
    twin.adam = WgpuAdam::new(&gpu.device, &gpu.queue, params, config)?;
    Ok(twin)
}

/// A layer's output: the sigmoid of W x + b.
fn forward(weight: &[f32], bias: &[f32], input: &[f64]) -> Vec<f64> {
    let rows = weight.chunks_exact(input.len()).zip(bias);
    rows.map(|(row, bias)| {
        let sum: f64 = row.iter().zip(input).map(|(weight, x)| f64::from(*weight) * x).sum();
        1.0 / (1.0 + (-sum - f64::from(*bias)).exp())
    })
    .collect()
}

/// A layer's gradients for weight, bias and input, from its input, its output and the gradient of its output.
fn backward(weight: &[f32], input: &[f64], output: &[f64], grad: &[f64]) -> (Vec<f32>, Vec<f32>, Vec<f64>) {
    let sums: Vec<f64> = output.iter().zip(grad).map(|(y, grad)| grad * y * (1.0 - y)).collect();
    let weight_grad = sums.iter().flat_map(|sum| input.iter().map(move |x| (sum * x) as f32)).collect();
    let bias_grad = sums.iter().map(|sum| *sum as f32).collect();
    let rows = weight.chunks_exact(input.len()).zip(&sums);
    let mut input_grad = vec![0.0; input.len()];
    for (row, sum) in rows {
        for (grad, weight) in input_grad.iter_mut().zip(row) {
            *grad += sum * f64::from(*weight);
        }
    }
    (weight_grad, bias_grad, input_grad)
}

/// The gradients of (scale * sum of outputs - 1)^2.
fn gradients(params: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let [weight, bias, second_weight, second_bias, scale] = params else { return Vec::new() };
    let input: Vec<f64> = values(55, 4).into_iter().map(f64::from).collect();
    let hidden = forward(weight, bias, &input);
    let outputs = forward(second_weight, second_bias, &hidden);
    let (sum, scale) = (outputs.iter().sum::<f64>(), f64::from(scale[0]));
    let error = 2.0 * (scale * sum - 1.0);
    let by_outputs = vec![error * scale; outputs.len()];
    let (second_weight, second_bias, by_hidden) = backward(second_weight, &hidden, &outputs, &by_outputs);
    let (weight, bias, _) = backward(weight, &input, &hidden, &by_hidden);
    vec![weight, bias, second_weight, second_bias, vec![(error * sum) as f32]]
}

/// All parameters and all their state, with names.
async fn everything(twin: &Twin<'_>) -> Result<Vec<(String, Vec<f32>)>> {
    let named = |(tensor, key, values): (&TwinTensor, Key, Vec<f32>)| {
        (format!("{} (step {}) {key}", tensor.name, tensor.reference.step), values)
    };
    Ok(read_everything(twin).await?.into_iter().map(named).collect())
}

fn same(case: &str, got: &[(String, Vec<f32>)], want: &[(String, Vec<f32>)]) -> Result<()> {
    ensure!(got.len() == want.len(), "{case}: {} tensors instead of {}", got.len(), want.len());
    for ((name, got), (wanted, want)) in got.iter().zip(want) {
        ensure!(name == wanted, "{case}: {name} instead of {wanted}");
        same_bits(&format!("{case}: {name}"), got, want)?;
    }
    Ok(())
}

/// 7 steps, the 2nd without any gradients, the 3rd and 4th with the first layer frozen.
async fn run(gpu: &Gpu, case: &str, layout: Layout, config: AdamConfig) -> Result<Vec<Vec<(String, Vec<f32>)>>> {
    let mut twin = network(gpu, layout, config)?;
    let mut results = Vec::new();
    for number in 1..=7 {
        let case = format!("{case}, {layout:?}, step {number}");
        let (drop, give) = match number {
            2 => (0..5, 0..0),
            3 => (0..0, FROZEN.end..5),
            5 => (0..0, FROZEN),
            _ => (0..0, 0..0),
        };
        for index in drop {
            twin.drop_grad(index)?;
        }
        for index in give {
            twin.give_grad(index)?;
        }
        let before = everything(&twin).await?;
        for (index, grad) in gradients(&read_params(&twin).await?).into_iter().enumerate() {
            write_grad(&mut twin, index, grad);
        }
        super::step(&mut twin)?;
        check(&twin, &case, config.lr).await?;
        let after = everything(&twin).await?;
        let frozen = before.iter().position(|(name, _)| name.starts_with(TENSORS[FROZEN.end].0)).unwrap_or(0);
        match number {
            2 => same(&case, &after, &before)?,
            3 | 4 => same(&case, &after[..frozen], &before[..frozen])?,
            _ => {}
        }
        for ((name, after), (_, before)) in after.iter().zip(&before).filter(|_| !(2..=4).contains(&number)) {
            // The maximum may be unchanged.
            ensure!(after != before || name.ends_with("max_exp_avg_sq"), "{case}: {name} has not changed");
        }
        results.push(after);
    }
    let counts: Vec<u64> = twin.tensors.iter().map(|tensor| tensor.reference.step).collect();
    ensure!(counts == [4, 4, 6, 6, 6], "{case}: {counts:?} steps");
    Ok(results)
}

pub async fn placements(gpu: &Gpu) -> Result<()> {
    for (case, config) in configurations() {
        let arena = run(gpu, &case, Layout::Arena, config).await?;
        let own = run(gpu, &case, Layout::Own, config).await?;
        for (number, (arena, own)) in (1..).zip(arena.iter().zip(&own)) {
            same(&format!("{case}, step {number}, in an arena and not"), arena, own)?;
        }
    }
    Ok(())
}
