//! Groups and parameters that are added and removed one by one: neighbours share a run, whenever they were added.

use anyhow::{Context, Result, ensure};
use wgpu_adam::{AdamConfig, Error, GradientControl, Param, ParamGroup, TensorArena, WgpuAdam};

use crate::{
    Body, Gpu, body,
    readback::read_f32,
    twin::{Twin, TwinTensor, same_bits},
    values::values,
};

pub const BODIES: &[(&str, Body)] = &[
    body!("growth/one by one, as if given at once", gpu => one_by_one(gpu)),
    body!("growth/an optimizer that begins empty", gpu => from_nothing(gpu)),
    body!("growth/parameters added to a group", gpu => into_a_group(gpu)),
    body!("growth/added between steps, then defragmented", gpu => between_steps(gpu)),
    body!("growth/groups removed", gpu => groups_removed(gpu)),
    body!("growth/lent state stays", gpu => lent(gpu)),
    body!("growth/what is refused leaves nothing", gpu => refused(gpu)),
];

const TENSORS: usize = 45;

/// Tensors of 1 to 4,096 elements in one arena, with values and gradients that depend only on their place.
fn arena(gpu: &Gpu) -> Result<TensorArena> {
    let length = |number: usize| [1, 63, 64, 65, 300, 4096, 7, 0, 1023][number % 9];
    let arena = TensorArena::new(&gpu.device, (0..TENSORS).map(|number| (format!("t{number}"), [length(number)])))?;
    write_grads(gpu, &arena, 1)?;
    for param in arena.params() {
        let name = param.name().unwrap_or_default();
        let place = arena.param_buffer(name)?;
        let length = param.shape().iter().product::<usize>() as u64;
        arena.write_param(&gpu.queue, name, &values(place.offset() / 4 % 1000, length))?;
    }
    Ok(arena)
}

fn write_grads(gpu: &Gpu, arena: &TensorArena, step: u64) -> Result<()> {
    for param in arena.params() {
        let name = param.name().unwrap_or_default();
        let length = param.shape().iter().product::<usize>() as u64;
        arena.write_grad(
            &gpu.queue,
            name,
            &values(step * 7919 + arena.grad_buffer(name)?.offset() / 4 % 4096, length),
        )?;
    }
    Ok(())
}

/// The whole parameter buffer.
async fn bits(gpu: &Gpu, arena: &TensorArena) -> Result<Vec<f32>> {
    let place = arena.param_buffer("t0")?;
    read_f32(gpu, place.buffer(), 0, place.buffer().size() / 4).await
}

fn new(gpu: &Gpu, groups: Vec<ParamGroup>) -> Result<WgpuAdam> {
    Ok(WgpuAdam::new(&gpu.device, &gpu.queue, groups, AdamConfig { lr: 0.01, ..Default::default() })?)
}

async fn three_steps(gpu: &Gpu, arena: &TensorArena, adam: &mut WgpuAdam) -> Result<Vec<f32>> {
    for step in 1..=3 {
        write_grads(gpu, arena, step)?;
        adam.step()?;
    }
    bits(gpu, arena).await
}

/// An order in which parameters are added.
type Order = (&'static str, fn(&mut Vec<Param>));

async fn one_by_one(gpu: &Gpu) -> Result<()> {
    let group = |param: Param| ParamGroup::new([param]);
    let at_once = arena(gpu)?;
    let mut adam = new(gpu, at_once.params().into_iter().map(group).collect())?;
    ensure!(adam.dispatch_count() == 1, "{} dispatches, given at once", adam.dispatch_count());
    let want = three_steps(gpu, &at_once, &mut adam).await?;
    let orders: [Order; 3] = [
        ("in order", |_| {}),
        ("from the last to the first", |params| params.reverse()),
        ("every seventh first", |params| {
            let (first, rest): (Vec<_>, Vec<_>) = params.drain(..).enumerate().partition(|(number, _)| number % 7 == 0);
            params.extend(first.into_iter().chain(rest).map(|(_, param)| param));
        }),
    ];
    for (case, order) in orders {
        let arena = arena(gpu)?;
        let mut params = arena.params();
        order(&mut params);
        let mut adam = new(gpu, Vec::new())?;
        for param in params {
            adam.add_param_group(group(param))?;
        }
        ensure!(adam.dispatch_count() == 1, "{case}: {} dispatches before the first step", adam.dispatch_count());
        let got = three_steps(gpu, &arena, &mut adam).await?;
        ensure!(adam.dispatch_count() == 1, "{case}: {} dispatches", adam.dispatch_count());
        same_bits(case, &got, &want)?;
    }
    Ok(())
}

async fn from_nothing(gpu: &Gpu) -> Result<()> {
    let empty: [(&str, wgpu_adam::ParamGroups); 3] = [
        ("no parameters", Vec::<Param>::new().into()),
        ("an array of no parameters", ([] as [Param; 0]).into()),
        ("an empty group", ParamGroup::new([]).into()),
    ];
    for (case, nothing) in empty {
        let config = AdamConfig { lr: 0.01, ..Default::default() };
        let mut twin = Twin::new(gpu, Vec::new(), config)?;
        twin.adam = WgpuAdam::new(&gpu.device, &gpu.queue, nothing, config)?;
        twin.adam.step().with_context(|| format!("{case}: a step of nothing"))?;
        let dict = twin.adam.state_dict().await?;
        ensure!(dict.param_groups.len() == 1 && dict.state.is_empty(), "{case}: {dict:?}");
        twin.adam.load_state_dict(&dict).await?;
        let tensor = TwinTensor::alone(gpu, "a", 33);
        twin.adam.add_param(0, tensor.as_param())?;
        twin.tensors.push(tensor);
        twin.step()?;
        twin.step()?;
        twin.check(case).await?;
        let id = twin.id("a")?;
        twin.adam.remove_param(id)?;
        twin.tensors.clear();
        twin.adam.step().with_context(|| format!("{case}: a step of nothing again"))?;
        gpu.check_errors()?;
    }
    let none = WgpuAdam::new(&gpu.device, &gpu.queue, Vec::<ParamGroup>::new(), AdamConfig::default())?;
    ensure!(none.param_groups().is_empty(), "groups out of nothing");
    Ok(())
}

async fn into_a_group(gpu: &Gpu) -> Result<()> {
    let at_once = arena(gpu)?;
    let mut adam = new(gpu, vec![ParamGroup::new(at_once.params()).amsgrad(true).weight_decay(0.1)])?;
    let want = three_steps(gpu, &at_once, &mut adam).await?;
    let arena = arena(gpu)?;
    let mut adam = new(gpu, vec![ParamGroup::new([]).amsgrad(true).weight_decay(0.1)])?;
    for param in arena.params() {
        let name = param.name().map(str::to_owned);
        let id = adam.add_param(0, param)?;
        ensure!(
            adam.param(id)?.name.map(str::to_owned) == name && adam.find(&name.unwrap_or_default()) == Some(id),
            "ids"
        );
    }
    ensure!(adam.param_groups()[0].params().len() == TENSORS, "{:?}", adam.param_groups()[0].params());
    let got = three_steps(gpu, &arena, &mut adam).await?;
    ensure!(adam.dispatch_count() == 1, "{} dispatches", adam.dispatch_count());
    same_bits("added to a group", &got, &want)
}

/// A tensor that is added after others have taken steps gets a separate run until the state is moved together. This
/// follows the order of recording, within one encoder too.
async fn between_steps(gpu: &Gpu) -> Result<()> {
    let mut results = Vec::new();
    for defragments in [false, true] {
        let arena = arena(gpu)?;
        let mut params = arena.params();
        let late = params.split_off(TENSORS / 3);
        let mut adam = new(gpu, vec![ParamGroup::new(params)])?;
        write_grads(gpu, &arena, 1)?;
        adam.step()?;
        for param in late {
            adam.add_param_group(ParamGroup::new([param]).lr(0.02))?;
        }
        ensure!(adam.dispatch_count() == 2, "{} dispatches with the late ones", adam.dispatch_count());
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        adam.record_step(&mut encoder)?;
        if defragments {
            adam.record_defragment(&mut encoder)?;
            ensure!(adam.dispatch_count() == 1, "{} dispatches, defragmented", adam.dispatch_count());
        }
        adam.record_step(&mut encoder)?;
        if defragments {
            let before = adam.state(adam.find("t5").context("t5")?)?;
            adam.record_defragment(&mut encoder)?;
            ensure!(before == adam.state(adam.find("t5").context("t5")?)?, "nothing was moved together");
        }
        gpu.queue.submit([encoder.finish()]);
        let mut all = three_steps(gpu, &arena, &mut adam).await?;
        for entry in adam.state_dict().await?.state.into_values() {
            ensure!(entry.step == 5 || entry.step == 6, "step {}", entry.step);
            all.extend(entry.exp_avg);
            all.extend(entry.exp_avg_sq);
        }
        results.push(all);
    }
    same_bits("defragmented", &results[1], &results[0])
}

async fn groups_removed(gpu: &Gpu) -> Result<()> {
    let tensors = ["a", "b", "c", "d"].map(|name| TwinTensor::alone(gpu, name, 70));
    let mut twin = Twin::new(gpu, Vec::new(), AdamConfig::default())?;
    for (number, tensor) in tensors.iter().enumerate() {
        twin.adam.add_param_group(ParamGroup::new([tensor.as_param()]).lr(0.01 * (number + 1) as f64))?;
    }
    // The first group is the empty one that the twin began with.
    twin.adam.remove_group(0)?;
    twin.tensors = tensors.into();
    twin.step()?;
    let gone = twin.id("b")?;
    twin.adam.remove_group(1)?;
    twin.tensors.remove(1);
    ensure!(twin.adam.param(gone).is_err() && twin.adam.find("b").is_none(), "b is still there");
    let rates: Vec<f64> = twin.adam.param_groups().iter().map(|group| group.config().lr).collect();
    ensure!(rates == [0.01, 0.03, 0.04], "the rates are {rates:?}");
    twin.adam.set_lr(1, 0.05)?;
    twin.step()?;
    twin.check("without b").await?;
    // A dict of the remaining parameters loads into an optimizer that never had the others.
    let dict = twin.adam.state_dict().await?;
    let groups: Vec<ParamGroup> =
        twin.tensors.iter().map(|tensor| ParamGroup::new([tensor.as_param()]).lr(0.5)).collect();
    twin.adam = WgpuAdam::new(&gpu.device, &gpu.queue, groups, AdamConfig::default())?;
    twin.adam.load_state_dict(&dict).await?;
    twin.step()?;
    twin.check("loaded without b").await
}

/// State places that the caller has received do not move when neighbours are added.
async fn lent(gpu: &Gpu) -> Result<()> {
    let arena = arena(gpu)?;
    let mut adam = new(gpu, Vec::new())?;
    let mut lent = Vec::new();
    for (number, param) in arena.params().into_iter().enumerate() {
        let group = adam.add_param_group(ParamGroup::new([param]))?;
        if number % 5 == 0 {
            let id = adam.param_groups()[group].params()[0];
            lent.push((id, adam.state(id)?));
        }
    }
    three_steps(gpu, &arena, &mut adam).await?;
    for (id, before) in lent {
        let after = adam.state(id)?;
        ensure!(after.pieces == before.pieces, "{:?} moved from {before:?} to {after:?}", adam.param(id)?.name);
    }
    Ok(())
}

/// A group that cannot be added, and its error.
type Wrong = (&'static str, Vec<Param>, fn(&Error) -> bool);

/// Adding an invalid group fails and leaves names, places and neighbours unchanged.
async fn refused(gpu: &Gpu) -> Result<()> {
    let arena = arena(gpu)?;
    let mut adam = new(gpu, vec![ParamGroup::new(arena.params().into_iter().take(10))])?;
    let twice = arena.tensor("t20")?;
    let wrong: [Wrong; 3] = [
        ("twice", vec![arena.tensor("t19")?, twice.clone(), twice], |e| matches!(e, Error::DuplicateName { .. })),
        (
            "there already",
            vec![arena.tensor("t18")?, Param::new("new", [1], arena.param_buffer("t3")?, arena.grad_buffer("t3")?)],
            |e| matches!(e, Error::Overlap { .. }),
        ),
        ("no name", vec![arena.tensor("t17")?, arena.tensor("t16")?.unnamed()], |e| {
            matches!(e, Error::MixedNames { .. })
        }),
    ];
    for (case, params, kind) in wrong {
        let refused = adam.add_param_group(ParamGroup::new(params.clone()));
        ensure!(refused.as_ref().is_err_and(kind), "{case}: {refused:?}");
        ensure!(adam.param_groups().len() == 1 && adam.param_groups()[0].params().len() == 10, "{case}: groups");
        for (number, param) in params.into_iter().enumerate() {
            let alone = adam.add_param(0, param);
            ensure!(number > 0 || alone.is_ok(), "{case}: the first one alone: {alone:?}");
            if let Ok(id) = alone {
                adam.remove_param(id)?;
            }
        }
    }
    // Controls that are refused, and the group after them.
    let refused = adam.set_gradient_control(GradientControl { max_norm: Some(f64::NAN), ..Default::default() });
    ensure!(refused.is_err(), "a clipping norm of NaN");
    let rest = arena.params().into_iter().skip(10);
    adam.add_param_group(ParamGroup::new(rest))?;
    let got = three_steps(gpu, &arena, &mut adam).await?;
    ensure!(adam.dispatch_count() == 1, "{} dispatches", adam.dispatch_count());
    let at_once = self::arena(gpu)?;
    let mut adam = new(gpu, vec![ParamGroup::new(at_once.params())])?;
    let want = three_steps(gpu, &at_once, &mut adam).await?;
    same_bits("after what was refused", &got, &want)
}
