//! Checkpoints and state dicts through staging buffers that are much smaller than the state, and the other content of
//! checkpoints.

mod refused;
mod spoiled;

use anyhow::{Context, Result, ensure};
use wgpu_adam::{
    AdamConfig, Checkpoint, CheckpointContents, CheckpointError, CheckpointTensor, Dtype, Error, LoadOptions, Param,
    ParamGroup, StateDict, StateDictError, TensorArena, WgpuAdam,
};

use crate::{
    Body, Gpu, body,
    readback::read_tensor,
    twin::{same_bits, storage},
    values::values,
};

pub const BODIES: &[(&str, Body)] = &[
    body!("checkpoints/there and back", gpu => there_and_back(gpu)),
    body!("checkpoints/what is unknown is kept", gpu => unknown(gpu)),
    body!("checkpoints/values that do not fit", gpu => values_that_do_not_fit(gpu)),
    body!("checkpoints/small staging, the same bytes", gpu => small_staging(gpu)),
    body!("checkpoints/steps wait for a long copy", gpu => steps_wait(gpu)),
    body!("checkpoints/loaded in place", gpu => in_place(gpu)),
    body!("checkpoints/recorded steps keep their state", gpu => recorded_steps(gpu)),
    body!("checkpoints/the last step count", gpu => refused::last_step(gpu)),
    body!("checkpoints/an element at rest is saved", gpu => spoiled::resting(gpu)),
    body!("checkpoints/what is not finite is not saved unless asked for", gpu => spoiled::refused_unless_allowed(gpu)),
    body!("checkpoints/a parameter begun anew is saved", gpu => spoiled::reset(gpu)),
    body!("checkpoints/names of any kind", gpu => spoiled::names(gpu)),
];

/// So small that it cuts every tensor.
const STAGING: u64 = 4096;

/// A model of two groups, the second with amsgrad, and a tensor without a gradient.
struct Model<'a> {
    gpu: &'a Gpu,
    arena: TensorArena,
    adam: WgpuAdam,
    steps: u64,
}

const TENSORS: [(&str, &[usize]); 5] =
    [("0.weight", &[61, 47]), ("0.bias", &[61]), ("1.weight", &[3, 1001]), ("unused", &[9]), ("scale", &[])];

impl<'a> Model<'a> {
    fn new(gpu: &'a Gpu, seed: u64) -> Result<Self> {
        let arena = TensorArena::new(&gpu.device, TENSORS.map(|(name, shape)| (name, shape.to_vec())))?;
        for (number, (name, shape)) in (seed..).zip(TENSORS) {
            arena.write_param(&gpu.queue, name, &values(number, shape.iter().product::<usize>() as u64))?;
        }
        let mut params = arena.params();
        let rest = params.split_off(2);
        let groups = [ParamGroup::new(params), ParamGroup::new(rest).amsgrad(true).lr(0.02).weight_decay(0.1)];
        let mut adam = WgpuAdam::new(&gpu.device, &gpu.queue, groups, AdamConfig { lr: 0.01, ..Default::default() })?;
        adam.set_grad_to_none(adam.find("unused").context("unused")?)?;
        Ok(Self { gpu, arena, adam, steps: 0 })
    }

    /// Writes gradients that depend on the step alone.
    fn write_grads(&self) -> Result<()> {
        for (number, (name, shape)) in (0..).zip(TENSORS) {
            let grad = values(self.steps * 31 + number + 1, shape.iter().product::<usize>() as u64);
            self.arena.write_grad(&self.gpu.queue, name, &grad)?;
        }
        Ok(())
    }

    fn step(&mut self) -> Result<()> {
        self.write_grads()?;
        self.adam.step()?;
        self.steps += 1;
        Ok(())
    }

    fn steps(&mut self, count: usize) -> Result<()> {
        (0..count).try_for_each(|_| self.step())
    }

    async fn bytes(&self) -> Result<Vec<u8>> {
        Ok(self.adam.checkpoint_bytes(&CheckpointContents::new()).await?)
    }

    async fn params(&self) -> Result<Vec<f32>> {
        let mut all = Vec::new();
        for (name, shape) in TENSORS {
            let length = shape.iter().product::<usize>() as u64;
            all.extend(read_tensor(self.gpu, &self.arena.param_buffer(name)?, length).await?);
        }
        Ok(all)
    }
}

/// 5 steps, a checkpoint into another model, and 5 more steps of both give the same bits and the same file.
async fn there_and_back(gpu: &Gpu) -> Result<()> {
    let mut model = Model::new(gpu, 1)?;
    let empty = model.bytes().await?;
    ensure!(StateDict::from_safetensors(empty)?.state.is_empty(), "state before the first step");
    model.steps(5)?;
    let bytes = model.bytes().await?;
    let dict = model.adam.state_dict().await?;
    ensure!(StateDict::from_safetensors(bytes.clone())? == dict, "the file's state differs from state_dict's");
    let checkpoint = Checkpoint::from_bytes(bytes.clone())?;
    ensure!(checkpoint.tensor("model.scale")?.shape().is_empty(), "the shape of a scalar");

    let mut other = Model::new(gpu, 100)?;
    other.adam.set_lr(0, 5.0)?;
    other.steps(3)?;
    other.adam.load_from(&checkpoint).await?;
    other.steps = 5;
    ensure!(other.bytes().await? == bytes, "the file after loading differs");
    model.steps(5)?;
    other.steps(5)?;
    ensure!(other.bytes().await? == model.bytes().await?, "5 steps later the files differ");
    same_bits("parameters", &other.params().await?, &model.params().await?)
}

/// Unknown options, metadata and tensors pass through an optimizer unchanged.
async fn unknown(gpu: &Gpu) -> Result<()> {
    let mut model = Model::new(gpu, 1)?;
    model.steps(2)?;
    let mut dict = model.adam.state_dict().await?;
    dict.param_groups[1].extra.insert("initial_lr".into(), "0.125".into());
    dict.param_groups[1].extra.insert("foreach".into(), "null".into());
    let strange = CheckpointTensor::new(Dtype::BF16, [3], vec![1, 2, 3, 4, 5, 6])?;
    let contents = CheckpointContents::optimizer_only()
        .with_metadata("scheduler", r#"{"last_epoch": 7}"#)
        .with_tensor("optimizer.state.0.bias.momentum_buffer", CheckpointTensor::f32([2], &[1.5, -0.0])?)
        .with_tensor("model.unused", CheckpointTensor::f32([9], &[7.0; 9])?)
        .with_tensor("model.running_mean", strange.clone());
    let first = Checkpoint::from_bytes(dict.to_safetensors(&contents)?)?;

    model.adam.load_from_with(&first, &LoadOptions::new().optimizer_only()).await?;
    let contents = CheckpointContents::optimizer_only().keep(&first).with_metadata("epoch", "3");
    let second = Checkpoint::from_bytes(model.adam.checkpoint_bytes(&contents).await?)?;
    ensure!(second.state_dict()? == dict, "groups or state have changed: {:?}", second.state_dict()?);
    ensure!(second.metadata().get("scheduler").is_some_and(|text| text == r#"{"last_epoch": 7}"#), "metadata");
    ensure!(second.metadata().get("epoch").is_some_and(|text| text == "3"), "metadata that was added");
    ensure!(second.tensor("model.running_mean")? == strange, "a tensor of bf16");
    let buffer = second.tensor("optimizer.state.0.bias.momentum_buffer")?;
    ensure!(buffer.to_f32().is_some_and(|values| values[1].to_bits() == (-0.0_f32).to_bits()), "a foreign state");
    // The values of the parameter are not kept: they are older than its state.
    let stale = second.tensor("model.unused");
    ensure!(matches!(stale, Err(Error::Checkpoint(CheckpointError::Missing { .. }))), "stale values: {stale:?}");
    let own = CheckpointContents::optimizer_only()
        .with_tensor("optimizer.state.0.bias.step", CheckpointTensor::f32([], &[1.0])?);
    let refused = model.adam.checkpoint_bytes(&own).await;
    ensure!(matches!(refused, Err(Error::Checkpoint(CheckpointError::Tensor { .. }))), "a reserved name");
    Ok(())
}

/// Values are checked before the state changes.
async fn values_that_do_not_fit(gpu: &Gpu) -> Result<()> {
    let buffer = |usage| {
        gpu.device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 40, usage, mapped_at_creation: false })
    };
    let plain = (buffer(wgpu::BufferUsages::STORAGE), buffer(wgpu::BufferUsages::STORAGE));
    let make = |param: &wgpu::Buffer, shape: &[usize]| {
        let param = Param::new("a", shape, param, &plain.1);
        WgpuAdam::new(&gpu.device, &gpu.queue, [param], AdamConfig::default())
    };
    let mut unreadable = make(&plain.0, &[10])?;
    unreadable.step()?;
    let refused = unreadable.checkpoint_bytes(&CheckpointContents::new()).await;
    ensure!(matches!(refused, Err(Error::BufferUsage { .. })), "values that cannot be read: {refused:?}");

    let own = storage(gpu, 40);
    let mut adam = make(&own, &[10])?;
    adam.step()?;
    let without = Checkpoint::from_bytes(adam.checkpoint_bytes(&CheckpointContents::optimizer_only()).await?)?;
    let with = Checkpoint::from_bytes(adam.checkpoint_bytes(&CheckpointContents::new()).await?)?;
    adam.step()?;
    let before = adam.state_dict().await?;
    let refused = adam.load_from(&without).await;
    ensure!(matches!(refused, Err(Error::Checkpoint(CheckpointError::NoParameters))), "no values: {refused:?}");
    ensure!(adam.state_dict().await? == before, "a refused file has changed the state");
    let refused = unreadable.load_from(&with).await;
    ensure!(matches!(refused, Err(Error::BufferUsage { .. })), "values that cannot be written: {refused:?}");
    let mut other = make(&own, &[5, 2])?;
    let refused = other.load_from(&with).await;
    ensure!(
        matches!(refused, Err(Error::StateDict(StateDictError::Entry { key: "shape", .. }))),
        "another shape: {refused:?}"
    );
    ensure!(other.state_dict().await?.state.is_empty(), "a refused file has changed the state");
    adam.load_from(&with).await?;
    ensure!(adam.state_dict().await?.state[&0].step == 1, "the step count after loading");
    Ok(())
}

async fn small_staging(gpu: &Gpu) -> Result<()> {
    let mut model = Model::new(gpu, 1)?;
    model.steps(3)?;
    let (dict, bytes) = (model.adam.state_dict().await?, model.bytes().await?);
    model.adam.set_staging_size(STAGING);
    ensure!(model.adam.state_dict().await? == dict, "another state dict");
    ensure!(model.bytes().await? == bytes, "another file");
    model.step()?;
    Ok(())
}

/// While a state larger than the staging buffers is copied, it cannot be changed. Afterwards, or when the copy is
/// dropped, everything works again.
async fn steps_wait(gpu: &Gpu) -> Result<()> {
    let mut model = Model::new(gpu, 1)?;
    model.adam.set_staging_size(STAGING);
    model.steps(2)?;
    let want = model.adam.state_dict().await?;
    let copy = model.adam.state_dict();
    let refused = model.adam.step().map(drop);
    ensure!(refused == Err(Error::StateBeingCopied), "a step during a copy: {refused:?}");
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    let weight = model.adam.find("0.weight").context("0.weight")?;
    let refused = model.adam.record_reset_state(&mut encoder, weight);
    ensure!(refused == Err(Error::StateBeingCopied), "a reset during a copy: {refused:?}");
    ensure!(model.adam.param(weight)?.step == 2, "a refused step was counted");
    let second = model.adam.state_dict();
    ensure!(copy.await? == want, "the state of the copy");
    ensure!(model.adam.step().map(drop) == Err(Error::StateBeingCopied), "a step during the second copy");
    // Loading uses new buffers meanwhile.
    let loaded = Model::new(gpu, 1)?.adam.state_dict().await?;
    model.adam.load_state_dict(&loaded).await?;
    ensure!(second.await? == want, "the state of the second copy");
    ensure!(model.adam.state_dict().await? == loaded, "the state loaded meanwhile");

    drop(model.adam.state_dict());
    model.step()?;
    // A state that fits into a staging buffer blocks nothing.
    model.adam.set_staging_size(1 << 20);
    let copy = model.adam.state_dict();
    model.step()?;
    ensure!(copy.await?.state[&0].step == 1, "the step count of the copy");
    Ok(())
}

/// Loading a large state reuses the existing buffers, and overwrites everything in them.
async fn in_place(gpu: &Gpu) -> Result<()> {
    let mut model = Model::new(gpu, 1)?;
    model.steps(2)?;
    let mut dict = model.adam.state_dict().await?;
    // A parameter without saved state, and one without a saved maximum.
    dict.state.remove(&1);
    let bytes = dict.to_safetensors(&CheckpointContents::optimizer_only())?;
    for through_file in [false, true] {
        let mut other = Model::new(gpu, 1)?;
        other.adam.set_staging_size(STAGING);
        other.steps(3)?;
        // A browser reports finished steps only through callbacks, so wait for one.
        other.adam.state_dict().await?;
        let place =
            |adam: &WgpuAdam| -> Result<_> { Ok(adam.state(adam.find("1.weight").context("1.weight")?)?.pieces) };
        let before = place(&other.adam)?;
        if through_file {
            let options = LoadOptions::new().optimizer_only();
            other.adam.load_from_with(&Checkpoint::from_bytes(bytes.clone())?, &options).await?;
        } else {
            other.adam.load_state_dict(&dict).await?;
        }
        ensure!(place(&other.adam)? == before, "the state has moved");
        ensure!(other.adam.state_dict().await? == dict, "the state differs from the loaded one");
        let state = other.adam.state(other.adam.find("0.bias").context("0.bias")?)?;
        for key in [crate::golden::Key::ExpAvg, crate::golden::Key::ExpAvgSq] {
            let values = crate::readback::read_state(gpu, &state, key).await?;
            ensure!(values.iter().all(|value| value.to_bits() == 0), "state without an entry is not zero: {values:?}");
        }
        // A dict without max_exp_avg_sq makes loading create new buffers.
        let mut plain = dict.clone();
        plain.param_groups[1].amsgrad = Some(false);
        for entry in plain.state.values_mut() {
            entry.max_exp_avg_sq = None;
        }
        other.adam.load_state_dict(&plain).await?;
        ensure!(other.adam.state_dict().await? == plain, "without a maximum");
        other.adam.load_state_dict(&dict).await?;
        ensure!(other.adam.state_dict().await? == dict, "with a maximum again");
        other.step()?;
        gpu.check_errors()?;
    }
    Ok(())
}

/// Steps recorded before a load and submitted after it act on the old state.
async fn recorded_steps(gpu: &Gpu) -> Result<()> {
    let mut model = Model::new(gpu, 1)?;
    model.adam.set_staging_size(STAGING);
    model.steps(2)?;
    let dict = model.adam.state_dict().await?;
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    model.adam.record_step(&mut encoder)?;
    model.adam.load_state_dict(&dict).await?;
    gpu.queue.submit([encoder.finish()]);
    ensure!(model.adam.state_dict().await? == dict, "a step recorded before the load changed the loaded state");
    Ok(())
}
