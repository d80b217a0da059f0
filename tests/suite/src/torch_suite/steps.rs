//! Effects of single options and of missing gradients on a step.

use anyhow::{Context, Result, ensure};
use wgpu_adam::{AdamConfig, Error, Param, ParamGroup, WgpuAdam};

use super::{
    check, configurations,
    directions::{Layout, backward, problem},
    grouped, read_params, same_dicts, step, write_grad,
};
use crate::{
    Gpu,
    readback::read_tensor,
    twin::{Twin, TwinTensor, same_bits},
};

/// The weight decays; the bias does not.
pub async fn weight_decay_of_a_group(gpu: &Gpu) -> Result<()> {
    for (case, config) in configurations() {
        let [weight, bias] = problem(gpu, "problem", Layout::Own);
        let [twin_weight, twin_bias] = problem(gpu, "plain", Layout::Own);
        for (from, to) in [(&weight, &twin_weight), (&bias, &twin_bias)] {
            gpu.queue.write_buffer(to.param.buffer(), 0, bytemuck::cast_slice(&from.initial));
        }
        let decay = 0.5;
        let groups: Vec<super::TwinGroup<'_>> = vec![
            (vec![weight], Box::new(|group| group.weight_decay(decay))),
            (vec![bias], Box::new(|group| group.weight_decay(0.0))),
        ];
        let mut twin = grouped(gpu, groups, config)?;
        let tensors = vec![twin_weight, twin_bias];
        let mut plain = Twin::new(gpu, tensors, AdamConfig { weight_decay: 0.0, ..config })?;
        let first = backward(&mut twin).await?[0];
        for _ in 0..20 {
            backward(&mut twin).await?;
            // Both have the gradients of the first.
            for index in 0..2 {
                let grad = twin.tensors[index].grad_values.clone().context("no gradient")?;
                write_grad(&mut plain, index, grad);
            }
            step(&mut twin)?;
            plain.adam.step()?;
        }
        check(&twin, &case, config.lr).await?;
        let last = backward(&mut twin).await?[0];
        let right = if config.maximize { last > first } else { last < first };
        ensure!(right, "{case}: the loss was {first} and is {last}");
        let (decayed, plain) = (read_params(&twin).await?, read_params(&plain).await?);
        same_bits(&format!("{case}: a bias that does not decay"), &decayed[1], &plain[1])?;
        ensure!(decayed[0] != plain[0], "{case}: the weight has not decayed");
    }
    Ok(())
}

/// A group with its own learning rate moves. A group with the optimizer's rate of 1e-28 keeps all its bits.
pub async fn lr_of_a_group(gpu: &Gpu) -> Result<()> {
    for (case, config) in configurations() {
        for own_first in [true, false] {
            let case = format!("{case}, own lr first: {own_first}");
            let moving = Vec::from(problem(gpu, "moving", Layout::Own));
            let resting = Vec::from(problem(gpu, "resting", Layout::Offsets));
            let mut groups: Vec<super::TwinGroup<'_>> =
                vec![(moving, Box::new(|group| group.lr(config.lr))), (resting, Box::new(|group| group))];
            if !own_first {
                groups.reverse();
            }
            let mut twin = grouped(gpu, groups, AdamConfig { lr: 1e-28, ..config })?;
            let first = backward(&mut twin).await?;
            for _ in 0..20 {
                backward(&mut twin).await?;
                step(&mut twin)?;
            }
            let last = backward(&mut twin).await?;
            let (moving, resting) = if own_first { (0, 1) } else { (1, 0) };
            let (before, after) = (first[moving], last[moving]);
            let right = if config.maximize { after > before } else { after < before };
            ensure!(right, "{case}: the loss was {before} and is {after}");
            let params = read_params(&twin).await?;
            for index in [2 * resting, 2 * resting + 1] {
                let tensor = &twin.tensors[index];
                same_bits(&format!("{case}: {}", tensor.name), &params[index], &tensor.initial)?;
            }
            check(&twin, &case, config.lr).await?;
        }
    }
    Ok(())
}

/// A step without any gradient does nothing: no count, no decay, no state. Both at the start and after other steps.
pub async fn no_gradients(gpu: &Gpu) -> Result<()> {
    for (case, config) in configurations() {
        let mut twin = Twin::new(gpu, problem(gpu, "problem", Layout::Own).into(), config)?;
        let without = |tensor: &TwinTensor| {
            Param::without_grad(tensor.name.clone(), [tensor.length as usize], tensor.param.clone())
        };
        let params: Vec<Param> = twin.tensors.iter().map(without).collect();
        twin.adam = WgpuAdam::new(&gpu.device, &gpu.queue, params, config)?;
        let grads: Vec<_> = twin.tensors.iter_mut().map(|tensor| tensor.grad_values.take()).collect();
        for number in 1..=3 {
            step(&mut twin)?;
            let case = format!("{case}, step {number}");
            for (tensor, got) in twin.tensors.iter().zip(read_params(&twin).await?) {
                same_bits(&format!("{case}: {}", tensor.name), &got, &tensor.initial)?;
                let count = twin.adam.param(twin.id(&tensor.name)?)?.step;
                ensure!(count == 0, "{case}: {} counts {count} steps", tensor.name);
            }
            let dict = twin.adam.state_dict().await?;
            ensure!(dict.state.is_empty(), "{case}: entries {:?}", dict.state.keys());
        }
        for index in 0..grads.len() {
            twin.give_grad(index)?;
        }
        twin.step()?;
        twin.drop_grad(0)?;
        twin.drop_grad(1)?;
        let (params, dict) = (read_params(&twin).await?, twin.adam.state_dict().await?);
        step(&mut twin)?;
        for (got, want) in read_params(&twin).await?.iter().zip(&params) {
            same_bits(&format!("{case}: after steps"), got, want)?;
        }
        same_dicts(&format!("{case}: after steps"), &twin.adam.state_dict().await?, &dict)?;
        check(&twin, &case, config.lr).await?;
    }
    Ok(())
}

/// With zero gradients, parameters without decay keep all their bits; the others shrink.
pub async fn zero_gradients(gpu: &Gpu) -> Result<()> {
    for (case, config) in configurations() {
        for weight_decay in [0.0, 0.1] {
            let case = format!("{case}, weight_decay {weight_decay}");
            let tensors = problem(gpu, "problem", Layout::Offsets).into();
            let mut twin = Twin::new(gpu, tensors, AdamConfig { weight_decay, ..config })?;
            for index in 0..2 {
                let zeros = vec![0.0; twin.tensors[index].length as usize];
                write_grad(&mut twin, index, zeros);
            }
            for _ in 0..5 {
                step(&mut twin)?;
            }
            check(&twin, &case, config.lr).await?;
            for (tensor, got) in twin.tensors.iter().zip(read_params(&twin).await?) {
                let case = format!("{case}: {}", tensor.name);
                match weight_decay {
                    0.0 => same_bits(&case, &got, &tensor.initial)?,
                    _ => ensure!(got.iter().zip(&tensor.initial).all(|(a, b)| a.abs() < b.abs()), "{case}: {got:?}"),
                }
            }
        }
    }
    Ok(())
}

/// Amsgrad on before the first step, then off, then on again. After steps without it, turning it on is refused, and
/// the run continues unaffected.
pub async fn amsgrad_toggles(gpu: &Gpu) -> Result<()> {
    let mut twin =
        Twin::new(gpu, vec![TwinTensor::alone(gpu, "a", 70)], AdamConfig { lr: 0.01, ..Default::default() })?;
    twin.adam.set_amsgrad(0, true)?;
    for (number, amsgrad) in [true, true, false, false, true, true].into_iter().enumerate() {
        twin.adam.set_amsgrad(0, amsgrad)?;
        twin.step()?;
        check(&twin, &format!("step {}, amsgrad {amsgrad}", number + 1), 0.01).await?;
        let dict = twin.adam.state_dict().await?;
        ensure!(dict.state[&0].max_exp_avg_sq.is_some(), "step {}: max_exp_avg_sq is gone", number + 1);
    }
    let mut late = Twin::new(gpu, vec![TwinTensor::alone(gpu, "a", 70)], AdamConfig::default())?;
    late.step()?;
    let result = late.adam.set_amsgrad(0, true);
    ensure!(matches!(result, Err(Error::AmsgradWithoutHistory { steps: 1, .. })), "behind a step: {result:?}");
    late.step()?;
    check(&late, "after the error", 0.001).await
}

/// Hyperparameters of -0.0 are legal, and give the bits of 0.0.
pub async fn minus_zero(gpu: &Gpu) -> Result<()> {
    let mut results = Vec::new();
    for zero in [0.0, -0.0] {
        for (lr, eps) in [(0.01, zero), (zero, 1e-8)] {
            let config = AdamConfig { lr, eps, betas: (zero, zero), weight_decay: zero, ..Default::default() };
            let tensor = TwinTensor::alone(gpu, "a", 9);
            let (param, initial) = (tensor.param.clone(), tensor.initial.clone());
            let mut twin = Twin::new(gpu, vec![tensor], config)?;
            twin.step()?;
            twin.step()?;
            check(&twin, &format!("{config:?}"), lr).await?;
            let got = read_tensor(gpu, &param, 9).await?;
            ensure!((got == initial) == (lr == 0.0), "{config:?}: {got:?} from {initial:?}");
            results.push(got);
        }
    }
    same_bits("eps -0.0", &results[2], &results[0])?;
    same_bits("lr -0.0", &results[3], &results[1])
}

/// An optimizer prints itself, before and after a step.
pub async fn debug(gpu: &Gpu) -> Result<()> {
    let mut twin = Twin::new(gpu, vec![TwinTensor::alone(gpu, "a weight", 9)], AdamConfig::default())?;
    twin.adam.add_param_group(ParamGroup::new([TwinTensor::alone(gpu, "b", 3).as_param()]).lr(0.125))?;
    for _ in 0..2 {
        let printed = format!("{:?}\n{:?}", twin.adam, twin.adam.param_groups());
        for part in [
            "WgpuAdam",
            "groups: 2",
            "params: 2",
            "elements: 12",
            "lr: 0.001",
            "lr: 0.125",
            "betas: (0.9, 0.999)",
            "amsgrad: false",
        ] {
            ensure!(printed.contains(part), "no \"{part}\" in {printed}");
        }
        twin.adam.step()?;
    }
    Ok(())
}
