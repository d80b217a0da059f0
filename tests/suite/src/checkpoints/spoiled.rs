//! State after large and infinite gradients: elements at rest are saved and loaded like any other, NaN only with
//! permission.

use anyhow::{Context, Result, ensure};
use wgpu_adam::{AdamConfig, Checkpoint, CheckpointContents, Error, LoadOptions, StateDict, TensorArena, WgpuAdam};

use super::{Model, STAGING, TENSORS};
use crate::{Gpu, twin::same_bits, values::values};

/// The tensors with a special gradient, of which the second has amsgrad, and the element that gets it.
const HURT: [(&str, usize); 2] = [("0.weight", 2500), ("1.weight", 1001)];

impl Model<'_> {
    /// A step in which one element of each of [`HURT`] has this gradient.
    fn hurt(&mut self, special: f32) -> Result<()> {
        self.write_grads()?;
        for (name, element) in HURT {
            let place = self.arena.grad_buffer(name)?;
            let offset = place.offset() + element as u64 * 4;
            self.gpu.queue.write_buffer(place.buffer(), offset, &special.to_le_bytes());
        }
        self.adam.step()?;
        self.steps += 1;
        Ok(())
    }

    async fn all_bytes(&self) -> Result<Vec<u8>> {
        Ok(self.adam.checkpoint_bytes(&CheckpointContents::new().allow_nonfinite()).await?)
    }
}

/// Resumes in one of several ways: from a file or a dict, at once or through small staging buffers. The file contains
/// all values.
async fn resumed<'a>(gpu: &'a Gpu, bytes: &[u8], way: &str, options: &LoadOptions) -> Result<Model<'a>> {
    let mut other = Model::new(gpu, 100)?;
    other.steps(3)?;
    if way.ends_with("small staging") {
        other.adam.set_staging_size(STAGING);
    }
    let checkpoint = Checkpoint::from_bytes(bytes)?;
    if way.starts_with("a file") {
        other.adam.load_from_with(&checkpoint, options).await?;
    } else {
        other.adam.load_state_dict_with(&checkpoint.state_dict()?, options).await?;
        for (name, _) in TENSORS {
            let values = checkpoint.tensor(&format!("model.{name}"))?.to_f32().context("values of f32")?;
            other.arena.write_param(&gpu.queue, name, &values)?;
        }
    }
    Ok(other)
}

const WAYS: [&str; 4] = ["a file", "a file, small staging", "a dict", "a dict, small staging"];

/// A finite gradient whose square overflows: the element no longer moves, and the run can be saved, loaded and
/// continued.
pub async fn resting(gpu: &Gpu) -> Result<()> {
    let mut model = Model::new(gpu, 1)?;
    model.steps(2)?;
    model.hurt(1e22)?;
    model.steps(2)?;
    let dict = model.adam.state_dict().await?;
    for (id, (name, element)) in [0, 2].into_iter().zip(HURT) {
        let entry = dict.state.get(&id).context("an entry")?;
        let squares = entry.exp_avg_sq.iter().chain(entry.max_exp_avg_sq.iter().flatten());
        let infinite = squares.filter(|value| **value == f32::INFINITY).count();
        ensure!(infinite == if id == 2 { 2 } else { 1 }, "{name}: {infinite} infinite squares");
        ensure!(entry.exp_avg[element].is_finite(), "{name}: exp_avg {}", entry.exp_avg[element]);
    }
    let bytes = model.bytes().await?;
    let plain = model.adam.checkpoint_bytes(&CheckpointContents::optimizer_only()).await?;
    ensure!(dict.to_safetensors(&CheckpointContents::optimizer_only())? == plain, "the dict's file differs");
    ensure!(StateDict::from_safetensors(plain)? == dict, "the file's state differs");
    model.adam.set_staging_size(STAGING);
    ensure!(model.bytes().await? == bytes, "the file through small staging buffers differs");
    let before = model.params().await?;
    let mut others = Vec::new();
    for way in WAYS {
        let mut other = resumed(gpu, &bytes, way, &LoadOptions::default()).await.context(way)?;
        other.steps = model.steps;
        ensure!(other.bytes().await? == bytes, "{way}: the file after loading differs");
        others.push((way, other));
    }
    model.steps(5)?;
    let (want, params) = (model.bytes().await?, model.params().await?);
    for (way, mut other) in others {
        other.steps(5)?;
        ensure!(other.bytes().await? == want, "{way}: 5 steps later the files differ");
        same_bits(way, &other.params().await?, &params)?;
    }
    for at in [HURT[0].1, 2867 + 61 + HURT[1].1] {
        ensure!(before[at].to_bits() == params[at].to_bits(), "element {at}: {} became {}", before[at], params[at]);
        ensure!(before[at + 1].to_bits() != params[at + 1].to_bits(), "element {at}: its neighbour rests too");
    }
    Ok(())
}

/// NaN or infinity in a gradient: saving and loading refuse the state, with an error that names the remedy. With
/// permission they accept it, and the bits stay the same.
pub async fn refused_unless_allowed(gpu: &Gpu) -> Result<()> {
    for (special, value) in [(f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf"), (f32::NAN, "NaN")] {
        let mut model = Model::new(gpu, 1)?;
        model.steps(2)?;
        let good = model.bytes().await?;
        model.hurt(special)?;
        let starts = format!(
            "exp_avg of parameter \"0.weight\" is spoiled: 1 of its 2867 elements are NaN or infinite, the first of them \
             element 2500: {value}; nothing was "
        );
        let is_told = |told: &Result<(), Error>, does: &str, ways: [&str; 2]| {
            let text = told.as_ref().err().map(ToString::to_string).unwrap_or_default();
            let is_kind = matches!(told, Err(Error::SpoiledState { count: 1, elements: 2867, element: 2500, .. }));
            let whole =
                is_kind && text.starts_with(&format!("{starts}{does}")) && ways.iter().all(|way| text.contains(way));
            ensure!(whole, "{special}, {does}: {told:?}: {text}");
            Ok(())
        };
        const SAVING: [&str; 2] = ["record_reset_state", "CheckpointContents::allow_nonfinite"];
        const LOADING: [&str; 2] = ["record_reset_state", "LoadOptions::allow_nonfinite"];
        let dict = model.adam.state_dict().await?;
        is_told(&dict.to_safetensors(&CheckpointContents::optimizer_only()).map(drop), "saved", SAVING)?;
        for staging in [STAGING, 1 << 20] {
            model.adam.set_staging_size(staging);
            let refused = model.adam.checkpoint_bytes(&CheckpointContents::new()).await;
            is_told(&refused.map(drop), "saved", SAVING)?;
        }
        let bytes = model.all_bytes().await?;
        let checkpoint = Checkpoint::from_bytes(bytes.clone()).context("the file must open for inspection")?;
        let mut other = Model::new(gpu, 100)?;
        other.steps(1)?;
        let before = other.bytes().await?;
        for staging in [STAGING, 1 << 20] {
            other.adam.set_staging_size(staging);
            is_told(&other.adam.load_state_dict(&dict).await, "loaded", LOADING)?;
            for options in [LoadOptions::new(), LoadOptions::new().optimizer_only()] {
                is_told(&other.adam.load_from_with(&checkpoint, &options).await, "loaded", LOADING)?;
            }
        }
        ensure!(other.bytes().await? == before, "{special}: a refused state has changed something");

        let allowed = LoadOptions::default().allow_nonfinite();
        let mut others = Vec::new();
        for way in WAYS {
            let mut other = resumed(gpu, &bytes, way, &allowed).await.context(way)?;
            other.steps = model.steps;
            ensure!(other.all_bytes().await? == bytes, "{special}, {way}: the file after loading differs");
            others.push((way, other));
        }
        model.steps(3)?;
        let want = model.all_bytes().await?;
        for (way, mut other) in others {
            other.steps(3)?;
            ensure!(other.all_bytes().await? == want, "{special}, {way}: 3 steps later the files differ");
        }
        // The earlier file can still be loaded.
        model.adam.load_from(&Checkpoint::from_bytes(good.clone())?).await?;
        ensure!(model.bytes().await? == good, "the file differs from the loaded one");
        gpu.check_errors()?;
    }
    Ok(())
}

/// After the state of a parameter is reset, the parameter and the run can be saved again.
pub async fn reset(gpu: &Gpu) -> Result<()> {
    let mut model = Model::new(gpu, 1)?;
    model.steps(2)?;
    model.hurt(f32::NAN)?;
    for (number, (name, _)) in (1..).zip(HURT) {
        let refused = model.bytes().await.map_err(|error| error.to_string());
        ensure!(refused.as_ref().is_err_and(|text| text.contains(&format!("\"{name}\""))), "{number}: {refused:?}");
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        model.adam.record_reset_state(&mut encoder, model.adam.find(name).context("a name")?)?;
        gpu.queue.submit([encoder.finish()]);
        let length =
            TENSORS.iter().find(|(own, _)| *own == name).map_or(0, |(_, shape)| shape.iter().product::<usize>());
        model.arena.write_param(&gpu.queue, name, &values(number, length as u64))?;
    }
    model.steps(2)?;
    let bytes = model.bytes().await?;
    let mut other = resumed(gpu, &bytes, "a file", &LoadOptions::default()).await?;
    other.steps = model.steps;
    model.steps(2)?;
    other.steps(2)?;
    ensure!(other.bytes().await? == model.bytes().await?, "2 steps later the files differ");
    Ok(())
}

/// Names can be any text, even text that should never become a file name.
pub async fn names(gpu: &Gpu) -> Result<()> {
    const NAMES: [&str; 14] = [
        "",
        ".",
        "..",
        "/",
        "/model/layers.0/MatMul",
        "../../etc/passwd",
        "C:\\x",
        "a\u{0}",
        "\n",
        "\"",
        "__metadata__",
        "model.",
        "optimizer.state..exp_avg",
        "\u{1f600}",
    ];
    let make = || -> Result<(TensorArena, WgpuAdam)> {
        let arena = TensorArena::new(&gpu.device, NAMES.map(|name| (name, [3])))?;
        let adam =
            WgpuAdam::new(&gpu.device, &gpu.queue, arena.params(), AdamConfig { amsgrad: true, ..Default::default() })?;
        Ok((arena, adam))
    };
    let step = |(arena, adam): &mut (TensorArena, WgpuAdam), step: u64| -> Result<()> {
        for (number, name) in (step * 100..).zip(NAMES) {
            arena.write_grad(&gpu.queue, name, &values(number, 3))?;
        }
        Ok(adam.step().map(drop)?)
    };
    let (mut own, mut other) = (make()?, make()?);
    step(&mut own, 1)?;
    let contents = CheckpointContents::new();
    let bytes = own.1.checkpoint_bytes(&contents).await?;
    let checkpoint = Checkpoint::from_bytes(bytes.clone())?;
    other.1.load_from(&checkpoint).await?;
    ensure!(other.1.checkpoint_bytes(&contents).await? == bytes, "the file after loading differs");
    ensure!(checkpoint.state_dict()? == own.1.state_dict().await?, "another state");
    for both in [&mut own, &mut other] {
        step(both, 2)?;
    }
    ensure!(own.1.checkpoint_bytes(&contents).await? == other.1.checkpoint_bytes(&contents).await?, "a step later");
    gpu.check_errors()
}
