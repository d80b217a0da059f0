//! Parts of tensors: steps, norms and clears affect the part alone, whatever tensor surrounds it.

use anyhow::{Context, Result, ensure};
use wgpu_adam::{
    AdamConfig, Error, GradientControl, Moments, Param, ParamGroup, TensorArena, TensorBuffer, WgpuAdam, ZeroGrad,
};

use crate::{
    Body, Gpu, body,
    readback::read_f32,
    reference::Reference,
    twin::{compare, storage},
};

pub const BODIES: &[(&str, Body)] = &[
    body!("parts/only their elements are stepped", gpu => stepped(gpu)),
    body!("parts/only their gradients are measured", gpu => measured(gpu)),
    body!("parts/only their gradients are cleared", gpu => cleared(gpu)),
    body!("parts/gradients of longer and shorter tensors", gpu => other_gradients(gpu)),
    body!("parts/replaced in place by a shorter tensor", gpu => replaced(gpu)),
    body!("parts/rows and slices", gpu => rows_and_slices(gpu)),
];

/// An arena of three tensors, of which "q" has 40 elements. All elements and all gradients are 1.
fn arena(gpu: &Gpu) -> Result<TensorArena> {
    let arena = TensorArena::new(&gpu.device, [("p", [7]), ("q", [40]), ("r", [100])])?;
    for (name, length) in [("p", 7), ("q", 40), ("r", 100)] {
        arena.write_param(&gpu.queue, name, &vec![1.0; length])?;
        arena.write_grad(&gpu.queue, name, &vec![1.0; length])?;
    }
    Ok(arena)
}

/// A way to write a part of a tensor of an arena.
type Make = fn(&TensorArena, &str, u64, u64) -> Result<Param>;

fn at(place: &TensorBuffer, start: u64) -> (&wgpu::Buffer, u64) {
    (place.buffer(), place.offset() + start * 4)
}

const WAYS: [(&str, Make); 3] = [
    ("by offsets", |arena, name, start, length| {
        let (param, grad) = (arena.param_buffer(name)?, arena.grad_buffer(name)?);
        Ok(Param::new(format!("{name} from {start}"), [length as usize], at(&param, start), at(&grad, start)))
    }),
    ("by the tensor's place where it begins", |arena, name, start, length| {
        let (param, grad) = (arena.param_buffer(name)?, arena.grad_buffer(name)?);
        let label = format!("{name} from {start}");
        Ok(match start {
            0 => Param::new(label, [length as usize], param, grad),
            _ => Param::new(label, [length as usize], at(&param, start), at(&grad, start)),
        })
    }),
    ("by slices", |arena, name, start, length| Ok(arena.tensor(name)?.slice(start..start + length)?)),
];

/// Parts of "q" as (start, length).
const PARTS: [(&str, &[(u64, u64)]); 6] = [
    ("two, apart", &[(0, 4), (28, 4)]),
    ("the beginning", &[(0, 10)]),
    ("the end", &[(33, 7)]),
    ("all but the middle", &[(0, 19), (21, 19)]),
    ("one element", &[(39, 1)]),
    ("all, in three", &[(0, 5), (5, 30), (35, 5)]),
];

/// The indices of a buffer's values that changed.
async fn changed(gpu: &Gpu, buffer: &wgpu::Buffer, before: &[f32]) -> Result<Vec<u64>> {
    let after = read_f32(gpu, buffer, 0, before.len() as u64).await?;
    Ok((0..).zip(after.iter().zip(before)).filter(|(_, (a, b))| a.to_bits() != b.to_bits()).map(|(i, _)| i).collect())
}

fn places(first: u64, parts: &[(u64, u64)]) -> Vec<u64> {
    parts.iter().flat_map(|&(start, length)| first + start..first + start + length).collect()
}

async fn stepped(gpu: &Gpu) -> Result<()> {
    for (way, make) in WAYS {
        for (case, parts) in PARTS {
            let arena = arena(gpu)?;
            let case = format!("{case}, {way}");
            let params = parts.iter().map(|&(start, length)| make(&arena, "q", start, length));
            let params = params.collect::<Result<Vec<_>>>()?;
            let config = AdamConfig { lr: 0.1, ..Default::default() };
            let mut adam = WgpuAdam::new(&gpu.device, &gpu.queue, params, config).context(case.clone())?;
            let q = arena.param_buffer("q")?;
            let before = read_f32(gpu, q.buffer(), 0, q.buffer().size() / 4).await?;
            adam.step()?;
            let (got, want) = (changed(gpu, q.buffer(), &before).await?, places(q.offset() / 4, parts));
            ensure!(got == want, "{case}: elements {got:?} were stepped instead of {want:?}");
            // Adjacent parts share one dispatch. Gaps and odd places split it.
            if case.starts_with("all, in three") {
                ensure!(adam.dispatch_count() == 1, "{case}: {} dispatches", adam.dispatch_count());
            }
        }
    }
    Ok(())
}

async fn measured(gpu: &Gpu) -> Result<()> {
    for (way, make) in WAYS {
        for (case, parts) in PARTS {
            let arena = arena(gpu)?;
            let params = parts.iter().map(|&(start, length)| make(&arena, "q", start, length));
            let mut adam =
                WgpuAdam::new(&gpu.device, &gpu.queue, params.collect::<Result<Vec<_>>>()?, AdamConfig::default())?;
            adam.set_gradient_control(GradientControl { max_norm: Some(0.5), ..Default::default() })?;
            adam.step()?;
            let got = adam.statistics().await?.grad_norm;
            let want = (parts.iter().map(|(_, length)| *length as f64).sum::<f64>()).sqrt();
            compare(&format!("{case}, {way}: norm"), &[got], &[want], |_, want| want * 5e-7)?;
        }
    }
    Ok(())
}

async fn cleared(gpu: &Gpu) -> Result<()> {
    for (way, make) in WAYS {
        for (case, parts) in PARTS {
            for after_step in [false, true] {
                let case = format!("{case}, {way}, behind the step {after_step}");
                let arena = arena(gpu)?;
                let params = parts.iter().map(|&(start, length)| make(&arena, "q", start, length));
                let mut adam =
                    WgpuAdam::new(&gpu.device, &gpu.queue, params.collect::<Result<Vec<_>>>()?, AdamConfig::default())?;
                let q = arena.grad_buffer("q")?;
                let before = read_f32(gpu, q.buffer(), 0, q.buffer().size() / 4).await?;
                if after_step {
                    adam.set_gradient_control(GradientControl { zero_grad_after_step: true, ..Default::default() })?;
                    adam.step()?;
                } else {
                    let mut encoder = gpu.device.create_command_encoder(&Default::default());
                    adam.record_zero_grad(&mut encoder, ZeroGrad::Fill)?;
                    gpu.queue.submit([encoder.finish()]);
                }
                let (got, want) = (changed(gpu, q.buffer(), &before).await?, places(q.offset() / 4, parts));
                ensure!(got == want, "{case}: gradients {got:?} were cleared instead of {want:?}");
            }
        }
    }
    Ok(())
}

/// A tensor may use the gradient of a longer or shorter tensor; only the tensor's own elements are stepped.
async fn other_gradients(gpu: &Gpu) -> Result<()> {
    for (case, name, length, grad) in [
        ("a longer tensor's gradient", "p", 7_u64, "r"),
        ("a longer tensor's gradient, by its neighbour", "q", 40, "r"),
        ("its own", "q", 40, "q"),
    ] {
        let arena = arena(gpu)?;
        let params = [arena.tensor(name)?];
        let mut adam = WgpuAdam::new(&gpu.device, &gpu.queue, params, AdamConfig { lr: 0.1, ..Default::default() })?;
        let id = adam.find(name).context("no parameter")?;
        adam.set_grad(id, arena.grad_buffer(grad)?)?;
        let place = arena.param_buffer(name)?;
        let before = read_f32(gpu, place.buffer(), 0, place.buffer().size() / 4).await?;
        adam.step()?;
        let got = changed(gpu, place.buffer(), &before).await?;
        let want = places(place.offset() / 4, &[(0, length)]);
        ensure!(got == want, "{case}: elements {got:?} were stepped instead of {want:?}");
    }
    Ok(())
}

/// Nothing past the end of the shorter tensor is read any more.
async fn replaced(gpu: &Gpu) -> Result<()> {
    for length in [1_u64, 10, 39] {
        let case = format!("shortened to {length}");
        let arena = arena(gpu)?;
        let params = [arena.tensor("q")?];
        let mut adam = WgpuAdam::new(&gpu.device, &gpu.queue, params, AdamConfig { lr: 0.1, ..Default::default() })?;
        adam.set_gradient_control(GradientControl { skip_nonfinite: true, ..Default::default() })?;
        adam.step()?;
        let (param, grad) = (arena.param_buffer("q")?, arena.grad_buffer("q")?);
        let shorter = Param::new("q", [length as usize], param.clone(), grad.clone());
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        let id = adam.find("q").context("no parameter")?;
        adam.record_replace_param(&mut encoder, id, shorter, Moments::Keep)?;
        gpu.queue.submit([encoder.finish()]);
        gpu.queue.write_buffer(grad.buffer(), grad.offset() + length * 4, bytemuck::bytes_of(&f32::NAN));
        let before = read_f32(gpu, param.buffer(), 0, param.buffer().size() / 4).await?;
        adam.step()?;
        let statistics = adam.statistics().await?;
        ensure!(!statistics.found_inf, "{case}: {statistics:?}");
        let got = changed(gpu, param.buffer(), &before).await?;
        let want = places(param.offset() / 4, &[(0, length)]);
        ensure!(got == want, "{case}: elements {got:?} were stepped instead of {want:?}");
    }
    Ok(())
}

/// Rows in separate groups, some frozen; the names of parts; invalid parts.
async fn rows_and_slices(gpu: &Gpu) -> Result<()> {
    let arena = TensorArena::new(&gpu.device, [("embedding", vec![10, 6]), ("scale", vec![])])?;
    arena.write_param(&gpu.queue, "embedding", &[1.0; 60])?;
    arena.write_grad(&gpu.queue, "embedding", &[0.5; 60])?;
    let embedding = arena.tensor("embedding")?;
    let groups = [
        ParamGroup::new([embedding.rows(2..5)?]).lr(0.1),
        ParamGroup::new([embedding.rows(5..6)?, embedding.slice(48..60)?]).lr(0.01),
    ];
    let mut adam = WgpuAdam::new(&gpu.device, &gpu.queue, groups, AdamConfig::default())?;
    let shape =
        |name: &str| anyhow::Ok(adam.param(adam.find(name).with_context(|| format!("no {name}"))?)?.shape.to_vec());
    for (name, want) in
        [("embedding[12..30]", vec![3, 6]), ("embedding[30..36]", vec![1, 6]), ("embedding[48..60]", vec![12])]
    {
        let got: Vec<usize> = shape(name)?;
        ensure!(got == want, "{name} has the shape {got:?} instead of {want:?}");
    }
    let mut reference = Reference::new(&[1.0; 60]);
    for _ in 0..3 {
        adam.step()?;
        let step = |lr: f64| {
            let mut stepped = reference.clone();
            stepped.step(&[0.5; 60], &AdamConfig { lr, ..Default::default() });
            stepped
        };
        let (fast, slow) = (step(0.1), step(0.01));
        let frozen = reference.param.clone();
        reference = fast.clone();
        for (element, param) in reference.param.iter_mut().enumerate() {
            *param = match element {
                12..30 => fast.param[element],
                30..36 | 48..60 => slow.param[element],
                _ => frozen[element],
            };
        }
    }
    let place = arena.param_buffer("embedding")?;
    let got = read_f32(gpu, place.buffer(), place.offset(), 60).await?;
    compare("rows of an embedding", &got, &reference.param, |_, _| 1e-6)?;

    type Part = fn(&TensorArena, &wgpu::Buffer) -> Result<(), Error>;
    let wrong: [(&str, Part, &str); 9] = [
        (
            "rows past the end",
            |a, _| a.tensor("embedding")?.rows(8..11).map(drop),
            "parameter \"embedding\" has no elements 48 to 66: it has 60",
        ),
        (
            "elements past the end",
            |a, _| a.tensor("embedding")?.slice(60..61).map(drop),
            "parameter \"embedding\" has no elements 60 to 61: it has 60",
        ),
        (
            "the other way round",
            |a, _| a.tensor("embedding")?.slice(std::ops::Range { start: 5, end: 4 }).map(drop),
            "parameter \"embedding\" has no elements 5 to 4",
        ),
        (
            "rows of a scalar",
            |a, _| a.tensor("scale")?.rows(0..1).map(drop),
            "parameter \"scale\" has no elements 0 to 1: it has 0",
        ),
        (
            "a gradient past the end",
            |a, _| a.grad_buffer("embedding")?.slice(59..61).map(drop),
            "the tensor has no elements 59 to 61: it has 60",
        ),
        (
            "past everything",
            |_, buffer| TensorBuffer::from(buffer).slice(u64::MAX / 2..u64::MAX / 2 + 4).map(drop),
            "the tensor has no elements 9223372036854775807 to 9223372036854775811",
        ),
        (
            "past the end of a tensor, and not of its buffer",
            |_, buffer| Param::new("own", [4], buffer, buffer).slice(2..6).map(drop),
            "parameter \"own\" has no elements 2 to 6: it has 4",
        ),
        (
            "of a tensor whose bytes cannot be counted",
            |_, buffer| Param::new("huge", [1 << 31, 1 << 31], buffer, buffer).slice(2..6).map(drop),
            "parameter \"huge\" has the shape [2147483648, 2147483648], which is too large",
        ),
        ("no tensor", |a, _| a.tensor("embeding").map(drop), "the arena has no tensor \"embeding\""),
    ];
    let buffer = storage(gpu, 64);
    for (case, part, want) in wrong {
        let error = part(&arena, &buffer).err().with_context(|| format!("{case}: it was accepted"))?;
        ensure!(error.to_string().starts_with(want), "{case}: '{error}' instead of '{want}'");
    }
    // A tensor in a separate buffer can be cut as well.
    let own = Param::new("own", [4, 4], &buffer, &storage(gpu, 64)).rows(1..3)?;
    adam.add_param(0, own)?;
    adam.step()?;
    ensure!(adam.find("own[4..12]").is_some(), "the part of a tensor in a buffer of its own");
    Ok(())
}
