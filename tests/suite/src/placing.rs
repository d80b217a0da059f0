//! Tensors of any length, at any place: all their elements are stepped, and nothing else.

use anyhow::{Result, ensure};
use wgpu_adam::{AdamConfig, ParamGroup, TensorArena, TensorBuffer, WgpuAdam};

use crate::{
    Body, Gpu, body,
    golden::Key,
    readback::{Span, read_all, read_f32, read_state, read_tensor},
    reference::Reference,
    twin::{Twin, TwinTensor, compare, same_bits, storage},
    values::{value, values},
};

pub const BODIES: &[(&str, Body)] = &[
    body!("placing/lengths in buffers of their own", gpu => lengths_alone(gpu)),
    body!("placing/lengths in an arena", gpu => lengths_in_an_arena(gpu)),
    body!("placing/17 M + 300 elements", gpu => large(gpu, 17_000_300)),
    body!("placing/160 MiB", gpu => large(gpu, 160 << 18)),
    body!("placing/any offset, neighbours untouched", gpu => offsets(gpu)),
    body!("placing/gradients among the parameters", gpu => interleaved(gpu)),
    body!("placing/padding stays zero", gpu => padding(gpu)),
    body!("placing/small limits give the same bits", gpu => small_limits(gpu)),
    body!("placing/a thousand groups", gpu => thousand_groups(gpu)),
];

const LENGTHS: [u64; 12] = [0, 1, 3, 4, 5, 255, 256, 257, 1023, 65_537, 262_144, 300_001];

async fn lengths_alone(gpu: &Gpu) -> Result<()> {
    for amsgrad in [false, true] {
        let config = AdamConfig { amsgrad, weight_decay: 0.1, ..Default::default() };
        for length in LENGTHS {
            let mut twin = Twin::new(gpu, vec![TwinTensor::alone(gpu, "a", length)], config)?;
            for _ in 0..3 {
                twin.step()?;
            }
            twin.check(&format!("length {length}, amsgrad {amsgrad}")).await?;
        }
    }
    Ok(())
}

async fn lengths_in_an_arena(gpu: &Gpu) -> Result<()> {
    let mut twin = arena_twin(gpu, &LENGTHS, AdamConfig { lr: 0.01, ..Default::default() })?;
    for _ in 0..3 {
        twin.step()?;
    }
    twin.check("arena").await
}

/// A twin of tensors in one arena, called 0, 1, ...
fn arena_twin<'a>(gpu: &'a Gpu, lengths: &[u64], config: AdamConfig) -> Result<Twin<'a>> {
    let shapes = lengths.iter().enumerate().map(|(number, length)| (number.to_string(), [*length as usize]));
    let arena = TensorArena::new(&gpu.device, shapes)?;
    let tensors = lengths.iter().enumerate().map(|(number, length)| {
        let name = number.to_string();
        Ok(TwinTensor::new(gpu, &name, *length, arena.param_buffer(&name)?, arena.grad_buffer(&name)?))
    });
    Twin::new(gpu, tensors.collect::<Result<_>>()?, config)
}

/// A tensor longer than one binding of 128 MiB; samples are compared with the reference.
async fn large(gpu: &Gpu, length: u64) -> Result<()> {
    let arena = TensorArena::new(&gpu.device, [("large", [length as usize])])?;
    let (param, grad) = (arena.param_buffer("large")?, arena.grad_buffer("large")?);
    let part = 1 << 20;
    for start in (0..length).step_by(part) {
        let count = (length - start).min(part as u64);
        let slice = |list| (start..start + count).map(|i| value(list, i)).collect::<Vec<f32>>();
        gpu.queue.write_buffer(param.buffer(), param.offset() + start * 4, bytemuck::cast_slice(&slice(1)));
        gpu.queue.write_buffer(grad.buffer(), grad.offset() + start * 4, bytemuck::cast_slice(&slice(2)));
        gpu.queue.submit([]);
    }
    let config = AdamConfig { lr: 0.01, ..Default::default() };
    let mut adam = WgpuAdam::new(&gpu.device, &gpu.queue, arena.params(), config)?;
    for _ in 0..2 {
        adam.step()?;
    }
    let id = adam.find("large").ok_or_else(|| anyhow::anyhow!("no parameter"))?;
    let state = adam.state(id)?;
    ensure!(
        state.pieces.len() > 1,
        "one window holds all: {} bytes",
        gpu.device.limits().max_storage_buffer_binding_size
    );
    // Both ends, the window boundaries, and places in between.
    let mut starts: Vec<u64> = (0..64).map(|number| number * (length / 64)).collect();
    starts.push(length - 8);
    starts.extend(state.pieces.iter().skip(1).map(|piece| piece.start - 4));
    let spans = |buffer: &wgpu::Buffer, offset: u64| {
        starts
            .iter()
            .map(|start| Span { buffer: buffer.clone(), offset: offset + start * 4, elements: 8 })
            .collect::<Vec<_>>()
    };
    let all =
        |list| starts.iter().flat_map(|start| (*start..start + 8).map(move |i| value(list, i))).collect::<Vec<f32>>();
    let mut reference = Reference::new(&all(1));
    for _ in 0..2 {
        reference.step(&all(2), &config);
    }
    let got = read_all(gpu, &[spans(param.buffer(), param.offset())]).await?;
    compare(&format!("{length} elements, param"), &got[0], &reference.param, |_, _| 1e-6)?;
    for (key, want) in [(Key::ExpAvg, &reference.exp_avg), (Key::ExpAvgSq, &reference.exp_avg_sq)] {
        let whole = read_state(gpu, &state, key).await?;
        let got: Vec<f32> =
            starts.iter().flat_map(|start| whole[*start as usize..*start as usize + 8].to_vec()).collect();
        compare(&format!("{length} elements, {key}"), &got, want, |_, _| 1e-6)?;
    }
    Ok(())
}

/// For each tensor, in elements of two buffers: the parameter's offset, the gradient's offset, the length.
type Places = &'static [(u64, u64, u64)];

/// Tensors at offsets that are multiples of 4 bytes and no more, among other data.
async fn offsets(gpu: &Gpu) -> Result<()> {
    const CANARY: f32 = 12345.678;
    let cases: [(&str, Places); 5] = [
        ("one, odd", &[(1, 1, 5)]),
        ("one, gradient shifted", &[(3, 6, 40)]),
        ("packed", &[(7, 7, 13), (20, 20, 30), (50, 50, 1), (51, 51, 100), (151, 151, 3)]),
        ("gaps and mixed order", &[(5, 200, 21), (30, 90, 64), (101, 1, 37), (140, 300, 2), (150, 50, 30)]),
        ("long and odd", &[(2, 2, 33_001), (33_005, 33_005, 40_003)]),
    ];
    for (case, places) in cases {
        let end = places.iter().map(|&(param, grad, length)| param.max(grad) + length).max().unwrap_or(0) + 9;
        let (params, grads) = (storage(gpu, end * 4), storage(gpu, end * 4));
        for buffer in [&params, &grads] {
            gpu.queue.write_buffer(buffer, 0, bytemuck::cast_slice(&vec![CANARY; end as usize]));
        }
        let tensor = |(number, &(param, grad, length)): (usize, &(u64, u64, u64))| {
            let at = |buffer: &wgpu::Buffer, start: u64| TensorBuffer::from((buffer, start * 4));
            TwinTensor::new(gpu, &number.to_string(), length, at(&params, param), at(&grads, grad))
        };
        let mut twin = Twin::new(gpu, places.iter().enumerate().map(tensor).collect(), AdamConfig::default())?;
        for step in 0..3 {
            // Splits the runs for one step.
            if step == 1 && places.len() > 2 {
                twin.drop_grad(1)?;
            }
            if step == 2 && places.len() > 2 {
                twin.give_grad(1)?;
            }
            twin.step()?;
        }
        twin.check(case).await?;
        let after = read_f32(gpu, &params, 0, end).await?;
        let is_ours = |i: u64| places.iter().any(|&(param, _, length)| (param..param + length).contains(&i));
        let touched: Vec<u64> = (0..end).filter(|&i| !is_ours(i) && after[i as usize] != CANARY).collect();
        ensure!(touched.is_empty(), "{case}: foreign elements {touched:?} have changed");
    }
    Ok(())
}

/// Parameters and gradients alternate in one buffer.
async fn interleaved(gpu: &Gpu) -> Result<()> {
    for (case, gap) in [("at once", 0), ("with gaps", 3), ("aligned", 64)] {
        let buffer = storage(gpu, 4 * 400_000);
        let mut end = 1_u64;
        let mut tensors = Vec::new();
        for (number, length) in [5_u64, 100, 64, 70_001, 3, 1024].into_iter().enumerate() {
            let param = end;
            let grad = param + length + gap;
            end = grad + length + gap;
            let at = |start: u64| TensorBuffer::from((&buffer, start * 4));
            tensors.push(TwinTensor::new(gpu, &number.to_string(), length, at(param), at(grad)));
        }
        let mut twin = Twin::new(gpu, tensors, AdamConfig { amsgrad: true, ..Default::default() })?;
        for _ in 0..3 {
            twin.step()?;
        }
        twin.check(case).await?;
        for tensor in &twin.tensors {
            let kept = read_tensor(gpu, &tensor.grad, tensor.length).await?;
            same_bits(
                &format!("{case}: gradient of {}", tensor.name),
                &kept,
                tensor.grad_values.as_deref().unwrap_or(&[]),
            )?;
        }
    }
    Ok(())
}

/// With every option, the padding between an arena's tensors is zero after every step, in the state as well.
async fn padding(gpu: &Gpu) -> Result<()> {
    let lengths = [1_u64, 63, 64, 65, 127, 1000, 0, 5];
    for options in 0..16_u32 {
        let on = |bit: u32| options >> bit & 1 == 1;
        let config = AdamConfig {
            lr: 0.1,
            eps: if on(0) { 0.0 } else { 1e-8 },
            amsgrad: on(1),
            maximize: on(2),
            decoupled_weight_decay: on(3),
            weight_decay: 0.3,
            ..Default::default()
        };
        let mut twin = arena_twin(gpu, &lengths, config)?;
        for step in 1..=3 {
            twin.step()?;
            let case = format!("{config:?}, step {step}");
            let arena = twin.tensors[0].param.buffer().clone();
            let mut ours = vec![false; arena.size() as usize / 4];
            for tensor in &twin.tensors {
                let start = tensor.param.offset() as usize / 4;
                ours[start..start + tensor.length as usize].fill(true);
            }
            all_zero(gpu, &format!("{case}: arena"), &arena, &ours).await?;
            let mut windows: Vec<(wgpu::Buffer, Vec<bool>)> = Vec::new();
            for tensor in &twin.tensors {
                for piece in twin.adam.state(twin.id(&tensor.name)?)?.pieces {
                    let known = windows.iter().position(|(buffer, _)| *buffer == piece.buffer);
                    let window = known.unwrap_or(windows.len());
                    if known.is_none() {
                        windows.push((piece.buffer.clone(), vec![false; piece.buffer.size() as usize / 4]));
                    }
                    for plane in
                        [Some(piece.exp_avg), Some(piece.exp_avg_sq), piece.max_exp_avg_sq].into_iter().flatten()
                    {
                        let start = plane as usize / 4;
                        windows[window].1[start..start + piece.length as usize].fill(true);
                    }
                }
            }
            for (buffer, ours) in &windows {
                all_zero(gpu, &format!("{case}: state"), buffer, ours).await?;
            }
        }
        twin.check(&format!("{config:?}")).await?;
    }
    Ok(())
}

async fn all_zero(gpu: &Gpu, case: &str, buffer: &wgpu::Buffer, ours: &[bool]) -> Result<()> {
    let values = read_f32(gpu, buffer, 0, ours.len() as u64).await?;
    let touched: Vec<usize> = (0..ours.len()).filter(|&i| !ours[i] && values[i] != 0.0).collect();
    ensure!(touched.is_empty(), "{case}: padding at {touched:?} is not zero");
    Ok(())
}

/// Limits below every adapter's: bindings of this many bytes, and few, small workgroups.
pub fn small_workgroups(binding: u64) -> wgpu::Limits {
    wgpu::Limits {
        max_storage_buffer_binding_size: binding,
        max_buffer_size: 2 << 20,
        max_compute_workgroups_per_dimension: 7,
        max_compute_invocations_per_workgroup: 64,
        max_compute_workgroup_size_x: 64,
        max_storage_buffers_per_shader_stage: 4,
        ..wgpu::Limits::downlevel_defaults()
    }
}

/// A device with small limits steps in more dispatches, with the same bits.
async fn small_limits(gpu: &Gpu) -> Result<()> {
    let small = gpu.small(small_workgroups(64 << 10)).await?;
    let mut results = Vec::new();
    for gpu in [gpu, &small] {
        let mut twin = arena_twin(gpu, &[100_000, 3, 257, 65_537, 1000, 1001], AdamConfig::default())?;
        twin.adam.set_lr(0, 0.01)?;
        let alone = TwinTensor::alone(gpu, "alone", 99_999);
        twin.adam.add_param_group(ParamGroup::new([alone.as_param()]).amsgrad(true))?;
        twin.tensors.push(alone);
        for _ in 0..3 {
            twin.step()?;
        }
        twin.check("limits").await?;
        let mut all = Vec::new();
        for tensor in &twin.tensors {
            all.extend(read_tensor(gpu, &tensor.param, tensor.length).await?);
            let state = twin.adam.state(twin.id(&tensor.name)?)?;
            all.extend(read_state(gpu, &state, Key::ExpAvg).await?);
            all.extend(read_state(gpu, &state, Key::ExpAvgSq).await?);
        }
        results.push(all);
    }
    small.check_errors()?;
    same_bits("small limits", &results[1], &results[0])
}

/// More hyper blocks than one binding holds.
async fn thousand_groups(gpu: &Gpu) -> Result<()> {
    let arena = TensorArena::new(&gpu.device, (0..1000).map(|number| (number.to_string(), [number % 7 + 1])))?;
    let mut tensors = Vec::new();
    let mut groups = Vec::new();
    for (number, param) in arena.params().into_iter().enumerate() {
        let name = number.to_string();
        let length = number as u64 % 7 + 1;
        tensors.push(TwinTensor::new(gpu, &name, length, arena.param_buffer(&name)?, arena.grad_buffer(&name)?));
        groups.push(ParamGroup::new([param]).lr(1e-3 * (number + 1) as f64 / 500.0));
    }
    let mut twin = Twin::new(gpu, tensors, AdamConfig::default())?;
    twin.adam = WgpuAdam::new(&gpu.device, &gpu.queue, groups, AdamConfig::default())?;
    for _ in 0..2 {
        twin.step()?;
    }
    twin.check("a thousand groups").await?;
    ensure!(values(1, 3)[0] != values(2, 3)[0], "gradients do not differ");
    Ok(())
}
