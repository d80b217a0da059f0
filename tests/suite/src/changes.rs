//! The effects of changes: removed parameters free their places, names and groups, and moments stay where the caller
//! put them.

use anyhow::{Context, Result, ensure};
use wgpu_adam::{AdamConfig, Moments, Param, ParamGroup, TensorArena, TensorBuffer, WgpuAdam, ZeroGrad};

use crate::{
    Body, Gpu, body,
    golden::Key,
    placing::small_workgroups,
    readback::{read_f32, read_state, read_tensor},
    twin::{same_bits, storage},
    values::values,
};

pub const BODIES: &[(&str, Body)] = &[
    body!("changes/moments given before the first step stay", gpu => given_first(gpu)),
    body!("changes/moments loaded before the first step stay", gpu => loaded_first(gpu)),
    body!("changes/moments given to a parameter that is cut", gpu => given_to_pieces(gpu)),
    body!("changes/state loaded in parts", gpu => loaded_in_parts(gpu)),
    body!("changes/names and places are free again", gpu => free_again(gpu)),
    body!("changes/added where others were removed", gpu => removed_then_added(gpu)),
    body!("changes/a fill after a replacement", gpu => fill_after_replacement(gpu)),
    body!("changes/fills of other gradients, and of nested ones", gpu => other_fills(gpu)),
];

fn new(gpu: &Gpu, params: Vec<Param>) -> Result<WgpuAdam> {
    Ok(WgpuAdam::new(&gpu.device, &gpu.queue, params, AdamConfig::default())?)
}

fn filled(gpu: &Gpu, numbers: &[f32]) -> TensorBuffer {
    let buffer = storage(gpu, numbers.len() as u64 * 4);
    gpu.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(numbers));
    (&buffer).into()
}

fn own(gpu: &Gpu, name: &str, length: u64) -> Param {
    Param::new(name, [length as usize], &storage(gpu, length * 4), &storage(gpu, length * 4))
}

/// Replaces the first parameter by another of the same length, with given moments.
fn give(gpu: &Gpu, adam: &mut WgpuAdam, with: Param, length: u64) -> Result<[(Key, Vec<f32>); 2]> {
    let id = adam.param_groups()[0].params()[0];
    let moments = [(Key::ExpAvg, values(11, length)), (Key::ExpAvgSq, values(13, length))];
    let [exp_avg, exp_avg_sq] = moments.each_ref().map(|(_, numbers)| filled(gpu, numbers));
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    let given = Moments::From { exp_avg, exp_avg_sq, max_exp_avg_sq: None };
    adam.record_replace_param(&mut encoder, id, with, given)?;
    gpu.queue.submit([encoder.finish()]);
    Ok(moments)
}

/// A parameter that is added later moves the state of fresh neighbours together. A parameter with given moments is not
/// fresh.
async fn given_first(gpu: &Gpu) -> Result<()> {
    let arena = TensorArena::new(&gpu.device, ["a", "b", "c"].map(|name| (name, [70])))?;
    let mut adam = new(gpu, vec![arena.tensor("a")?, arena.tensor("b")?])?;
    let moments = give(gpu, &mut adam, arena.tensor("a")?, 70)?;
    adam.add_param(0, arena.tensor("c")?)?;
    adam.set_grad_to_none(adam.find("a").context("a")?)?;
    adam.step()?;
    for (key, want) in moments {
        let state = adam.state(adam.find("a").context("a")?)?;
        same_bits(&format!("{key:?}"), &read_state(gpu, &state, key).await?, &want)?;
    }
    Ok(())
}

/// A parameter with loaded state is not fresh either.
async fn loaded_first(gpu: &Gpu) -> Result<()> {
    let arena = TensorArena::new(&gpu.device, ["a", "b", "c"].map(|name| (name, [70])))?;
    let mut old = new(gpu, vec![arena.tensor("a")?])?;
    arena.write_grad(&gpu.queue, "a", &values(11, 70))?;
    old.step()?;
    let dict = old.state_dict().await?;
    let mut adam = new(gpu, vec![arena.tensor("a")?])?;
    adam.load_state_dict(&dict).await?;
    adam.set_grad_to_none(adam.find("a").context("a")?)?;
    for name in ["b", "c"] {
        adam.add_param(0, arena.tensor(name)?)?;
        adam.step()?;
        let state = adam.state_dict().await?.state;
        ensure!(state.get(&0) == dict.state.get(&0), "with {name}: {:?}", state.get(&0));
    }
    Ok(())
}

/// Each piece receives its own part of the given moments.
async fn given_to_pieces(gpu: &Gpu) -> Result<()> {
    const LENGTH: u64 = 30_001;
    let small = gpu.small(small_workgroups(64 << 10)).await?;
    let mut adam = new(&small, vec![own(&small, "a", LENGTH)])?;
    let moments = give(&small, &mut adam, own(&small, "a", LENGTH), LENGTH)?;
    let state = adam.state(adam.find("a").context("a")?)?;
    ensure!(state.pieces.len() > 2, "{} pieces", state.pieces.len());
    for (key, want) in moments {
        same_bits(&format!("{key:?}"), &read_state(&small, &state, key).await?, &want)?;
    }
    small.check_errors()
}

/// Loads a tensor larger than a part of a load, and one in pieces, through a staging buffer that is smaller than a
/// piece.
async fn loaded_in_parts(gpu: &Gpu) -> Result<()> {
    let small = gpu.small(small_workgroups(64 << 10)).await?;
    for (case, gpu, length, staging) in [("written", gpu, 300_001, 64 << 20), ("staged", &small, 30_001, 4096)] {
        let param = || {
            let grad = filled(gpu, &values(17, length));
            Param::new("a", [length as usize], &storage(gpu, length * 4), grad)
        };
        let mut old = new(gpu, vec![param()])?;
        old.step()?;
        let dict = old.state_dict().await?;
        let want = &dict.state.get(&0).context("no state")?.exp_avg;
        let mut adam = new(gpu, vec![param()])?;
        adam.set_staging_size(staging);
        adam.load_state_dict(&dict).await?;
        let state = adam.state(adam.find("a").context("a")?)?;
        same_bits(case, &read_state(gpu, &state, Key::ExpAvg).await?, want)?;
    }
    small.check_errors()
}

async fn free_again(gpu: &Gpu) -> Result<()> {
    // Named and unnamed parameters do not mix. After the last unnamed one is removed, named ones can be added.
    let mut adam = new(gpu, vec![own(gpu, "a", 5).unnamed(), own(gpu, "b", 6).unnamed()])?;
    for id in adam.param_groups()[0].params().to_vec() {
        ensure!(adam.add_param(0, own(gpu, "c", 7)).is_err(), "a named parameter beside unnamed ones");
        adam.remove_param(id)?;
    }
    adam.add_param(0, own(gpu, "c", 7)).context("a named parameter where no unnamed one is left")?;

    // A gradient is removed; then a parameter can use its place.
    let shared = storage(gpu, 400);
    let grads: [(&str, Option<TensorBuffer>); 2] =
        [("another buffer", Some((&storage(gpu, 40)).into())), ("none", None)];
    for (case, other) in grads {
        let mut adam = new(gpu, vec![Param::new("a", [10], &storage(gpu, 40), &shared)])?;
        let over = || Param::without_grad("b", [10], (&shared, 20));
        ensure!(adam.add_param(0, over()).is_err(), "{case}: a parameter over a gradient");
        let id = adam.find("a").context("a")?;
        match other {
            Some(grad) => adam.set_grad(id, grad)?,
            None => adam.set_grad_to_none(id)?,
        }
        adam.add_param(0, over()).with_context(|| format!("{case}: a parameter where a gradient was"))?;
    }
    Ok(())
}

/// State without a step is moved together, even though a neighbour was removed.
async fn removed_then_added(gpu: &Gpu) -> Result<()> {
    let arena = TensorArena::new(&gpu.device, ["a", "b", "c"].map(|name| (name, [70])))?;
    let mut adam = new(gpu, vec![arena.tensor("a")?, arena.tensor("b")?])?;
    adam.remove_param(adam.find("a").context("a")?)?;
    adam.add_param_group(ParamGroup::new([arena.tensor("c")?]))?;
    adam.step()?;
    ensure!(adam.dispatch_count() == 1, "{} dispatches", adam.dispatch_count());
    Ok(())
}

/// Clears the new parameter's gradient, and not the removed one's.
async fn fill_after_replacement(gpu: &Gpu) -> Result<()> {
    let ones = [1.0_f32; 9];
    let grads = [filled(gpu, &ones), filled(gpu, &ones)];
    let param = |grad: &TensorBuffer| Param::new("a", [9], &storage(gpu, 36), grad.clone());
    let mut adam = new(gpu, vec![param(&grads[0])])?;
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    adam.record_zero_grad(&mut encoder, ZeroGrad::Fill)?;
    gpu.queue.submit([encoder.finish()]);
    gpu.queue.write_buffer(grads[0].buffer(), 0, bytemuck::cast_slice(&ones));
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    let id = adam.find("a").context("a")?;
    adam.record_replace_param(&mut encoder, id, param(&grads[1]), Moments::Keep)?;
    adam.record_zero_grad(&mut encoder, ZeroGrad::Fill)?;
    gpu.queue.submit([encoder.finish()]);
    same_bits("the old gradient", &read_f32(gpu, grads[0].buffer(), 0, 9).await?, &ones)?;
    same_bits("the new gradient", &read_f32(gpu, grads[1].buffer(), 0, 9).await?, &[0.0; 9])
}

/// Clears the gradients that the optimizer has at that moment, completely, even if one lies inside another.
async fn other_fills(gpu: &Gpu) -> Result<()> {
    let ones = [1.0_f32; 40];
    let (first, second) = (filled(gpu, &ones), filled(gpu, &ones));
    let mut adam = new(gpu, vec![Param::new("a", [40], &storage(gpu, 160), first.clone())])?;
    // Part of the other gradient, and ends before it.
    adam.add_param(0, Param::new("b", [5], &storage(gpu, 20), first.slice(3..8)?))?;
    let id = adam.find("a").context("a")?;
    let fill = |adam: &mut WgpuAdam| -> Result<()> {
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        adam.record_zero_grad(&mut encoder, ZeroGrad::Fill)?;
        gpu.queue.submit([encoder.finish()]);
        Ok(())
    };
    fill(&mut adam)?;
    let left = |values: &[f32]| values.iter().filter(|value| **value != 0.0).count();
    let got = [left(&read_tensor(gpu, &first, 40).await?), left(&read_tensor(gpu, &second, 40).await?)];
    ensure!(got == [0, 40], "nested: {got:?} elements are left of the two gradients");
    adam.set_grad(id, second.clone())?;
    fill(&mut adam)?;
    let got = left(&read_tensor(gpu, &second, 40).await?);
    ensure!(got == 0, "another gradient: {got} elements are left");
    Ok(())
}
