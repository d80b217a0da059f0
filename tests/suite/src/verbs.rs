//! Small verbs: rates of all groups, groups by names, values to the host, a norm without clipping, a fresh start.

use anyhow::{Result, ensure};
use wgpu_adam::{AdamConfig, GradientControl, ParamGroup, TensorArena, WgpuAdam};

use crate::{Body, Gpu, body};

pub const BODIES: &[(&str, Body)] = &[
    body!("verbs/values come back", gpu => values(gpu)),
    body!("verbs/a norm without clipping", gpu => measured(gpu)),
    body!("verbs/rates of all groups", gpu => rates(gpu)),
    body!("verbs/groups by names", gpu => partition(gpu)),
    body!("verbs/all start anew", gpu => reset(gpu)),
];

const SHAPES: [(&str, usize); 4] = [("0.weight", 1023), ("0.bias", 1), ("1.norm", 5), ("empty", 0)];

fn numbers(length: usize, seed: u32) -> Vec<f32> {
    (0..length as u32).map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) as f32 / 1e7 - 0.7).collect()
}

fn arena(gpu: &Gpu) -> Result<TensorArena> {
    let arena = TensorArena::new(&gpu.device, SHAPES.map(|(name, length)| (name, [length])))?;
    for (seed, (name, length)) in (1..).zip(SHAPES) {
        arena.write_param(&gpu.queue, name, &numbers(length, seed))?;
        arena.write_grad(&gpu.queue, name, &numbers(length, 100 + seed))?;
    }
    Ok(arena)
}

async fn params(gpu: &Gpu, arena: &TensorArena) -> Result<Vec<Vec<f32>>> {
    let mut all = Vec::new();
    for (name, _) in SHAPES {
        all.push(arena.read_param(&gpu.queue, name).await?);
    }
    Ok(all)
}

async fn values(gpu: &Gpu) -> Result<()> {
    let arena = arena(gpu)?;
    for (seed, (name, length)) in (1..).zip(SHAPES) {
        ensure!(arena.read_param(&gpu.queue, name).await? == numbers(length, seed), "parameters of {name}");
        ensure!(arena.read_grad(&gpu.queue, name).await? == numbers(length, 100 + seed), "gradients of {name}");
    }
    // What is written after the call is not in the copy.
    let reading = arena.read_param(&gpu.queue, "0.weight");
    arena.write_param(&gpu.queue, "0.weight", &[0.0; 1023])?;
    gpu.queue.submit([]);
    ensure!(reading.await? == numbers(1023, 1), "a later write is in the copy");
    let error = arena.read_param(&gpu.queue, "0.wieght").await.unwrap_err().to_string();
    let want = "the arena has no tensor \"0.wieght\"; the nearest are \"0.weight\", ";
    ensure!(error.starts_with(want), "{error}");
    Ok(())
}

async fn measured(gpu: &Gpu) -> Result<()> {
    let (plain_arena, arena) = (arena(gpu)?, arena(gpu)?);
    let mut plain = WgpuAdam::new(&gpu.device, &gpu.queue, plain_arena.params(), AdamConfig::adamw())?;
    let mut adam = WgpuAdam::new(&gpu.device, &gpu.queue, arena.params(), AdamConfig::adamw())?;
    adam.set_gradient_control(GradientControl { measure_norm: true, ..Default::default() })?;
    for step in 1..=3 {
        plain.step()?;
        adam.step()?;
        let statistics = adam.statistics().await?;
        let squares = SHAPES.into_iter().zip(101..).flat_map(|((_, length), seed)| numbers(length, seed));
        let want = squares.map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt();
        let off = (f64::from(statistics.grad_norm) - want).abs() / want;
        ensure!(off < 5e-7, "step {step}: a norm of {} instead of {want}", statistics.grad_norm);
        let (factor, taken) = (statistics.clip_factor, statistics.steps_taken);
        ensure!((factor, taken, statistics.steps_skipped) == (1.0, step, 0), "{statistics}");
        let same = params(gpu, &plain_arena).await? == params(gpu, &arena).await?;
        ensure!(same, "step {step}: measuring has changed the parameters");
    }
    Ok(())
}

async fn rates(gpu: &Gpu) -> Result<()> {
    let arena = arena(gpu)?;
    let (first, second) = ParamGroup::partition(arena.params(), |name| name.starts_with('0'));
    let groups = vec![first.lr(0.3), second];
    let mut adam =
        WgpuAdam::new(&gpu.device, &gpu.queue, groups.clone(), AdamConfig { lr: 0.1, ..Default::default() })?;
    let rates = |adam: &WgpuAdam| adam.param_groups().iter().map(|group| group.config().lr).collect::<Vec<_>>();
    for (factor, want) in [(0.5, [0.15, 0.05]), (2.0, [0.6, 0.2]), (0.0, [0.0, 0.0]), (1.0, [0.3, 0.1])] {
        adam.scale_lr(factor)?;
        ensure!(rates(&adam) == want, "{factor}: {:?}", rates(&adam));
    }
    for refused in [f64::NAN, -1.0, 1e300] {
        ensure!(adam.scale_lr(refused).is_err() && adam.set_lr_all(refused).is_err(), "{refused} was accepted");
        ensure!(rates(&adam) == [0.3, 0.1], "{refused} has changed {:?}", rates(&adam));
    }
    adam.scale_lr(0.25)?;
    adam.step()?;
    // The base rates go with the state, as those of torch's schedulers do.
    let dict = adam.state_dict().await?;
    ensure!(dict.param_groups[1].extra["initial_lr"] == "0.1", "{dict}");
    let mut resumed = WgpuAdam::new(&gpu.device, &gpu.queue, groups, AdamConfig::default())?;
    resumed.load_state_dict(&dict).await?;
    ensure!(rates(&resumed) == [0.075, 0.025], "loaded: {:?}", rates(&resumed));
    resumed.scale_lr(1.0)?;
    ensure!(rates(&resumed) == [0.3, 0.1], "resumed: {:?}", rates(&resumed));
    resumed.set_lr_all(0.01)?;
    ensure!(rates(&resumed) == [0.01; 2], "all: {:?}", rates(&resumed));
    Ok(())
}

async fn partition(gpu: &Gpu) -> Result<()> {
    let arena = arena(gpu)?;
    let (plain, decayed) =
        ParamGroup::partition(arena.params(), |name| name.ends_with("bias") || name.contains("norm"));
    let groups = [decayed.weight_decay(0.5), plain];
    let adam = WgpuAdam::new(&gpu.device, &gpu.queue, groups, AdamConfig::default())?;
    let names = |group: usize| -> Result<Vec<&str>> {
        let ids = adam.param_groups()[group].params();
        ids.iter().map(|id| Ok(adam.param(*id)?.name.unwrap_or("none"))).collect()
    };
    ensure!(names(0)? == ["0.weight", "empty"] && names(1)? == ["0.bias", "1.norm"], "{adam:?}");
    ensure!(adam.param_groups()[0].config().weight_decay == 0.5, "{adam:?}");
    let (all, none) = ParamGroup::partition([arena.params()[0].clone().unnamed()], |_| true);
    let count =
        |group| WgpuAdam::new(&gpu.device, &gpu.queue, [group], AdamConfig::default()).map(|a| a.params().count());
    ensure!((count(all)?, count(none)?) == (0, 1), "a parameter without a name was chosen");
    Ok(())
}

async fn reset(gpu: &Gpu) -> Result<()> {
    let (fresh_arena, arena) = (arena(gpu)?, arena(gpu)?);
    let config = AdamConfig { amsgrad: true, ..Default::default() };
    let mut fresh = WgpuAdam::new(&gpu.device, &gpu.queue, fresh_arena.params(), config)?;
    let mut adam = WgpuAdam::new(&gpu.device, &gpu.queue, arena.params(), config)?;
    for _ in 0..3 {
        adam.step()?;
    }
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    adam.record_reset_all(&mut encoder)?;
    for (seed, (name, length)) in (1..).zip(SHAPES) {
        arena.write_param(&gpu.queue, name, &numbers(length, seed))?;
    }
    adam.record_step(&mut encoder)?;
    gpu.queue.submit([encoder.finish()]);
    fresh.step()?;
    ensure!(
        params(gpu, &arena).await? == params(gpu, &fresh_arena).await?,
        "a run that starts anew differs from a new one"
    );
    ensure!(adam.state_dict().await? == fresh.state_dict().await?, "its state differs");
    Ok(())
}
