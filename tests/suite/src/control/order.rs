//! The same bits in every run, however steps are submitted.

use anyhow::{Result, ensure};
use wgpu_adam::{GradientControl, LossScale, NormType, StepStatistics};

use super::rig::{Bits, Options, Rig, arena, relative};
use crate::{
    Gpu,
    placing::small_workgroups,
    plain::{clip_factor, norm},
    twin::{TwinTensor, storage},
    values::values,
};

const DYNAMIC: LossScale =
    LossScale::Dynamic { init_scale: 1024.0, growth_factor: 2.0, backoff_factor: 0.5, growth_interval: 2 };

/// A hundred times from the same state: three steps, one of them skipped.
pub async fn repeats(gpu: &Gpu) -> Result<()> {
    let control = GradientControl { max_norm: Some(0.3), skip_nonfinite: true, ..Default::default() };
    let mut rig = Rig::mixed(gpu, control)?;
    rig.write_grads(1, 1.0);
    rig.adam.step()?;
    let start = rig.adam.state_dict().await?;
    let mut first: Option<(Bits, Vec<u32>)> = None;
    for repeat in 0..100 {
        for tensor in &rig.tensors {
            let (buffer, offset) = (tensor.param.buffer(), tensor.param.offset());
            gpu.queue.write_buffer(buffer, offset, bytemuck::cast_slice(&tensor.initial));
        }
        rig.adam.load_state_dict(&start).await?;
        let mut told = Vec::new();
        for round in 0..3 {
            rig.write_grads(2 + round, 2.0);
            if round == 1 {
                rig.poke_grad(4, 999, f32::INFINITY);
            }
            rig.adam.step()?;
            let statistics = rig.adam.statistics().await?;
            ensure!(statistics.found_inf == (round == 1), "repeat {repeat}: {statistics:?}");
            told.extend([statistics.grad_norm.to_bits(), statistics.clip_factor.to_bits()]);
        }
        let bits = rig.bits().await?;
        match &first {
            None => first = Some((bits, told)),
            Some((want, norms)) => {
                ensure!(*norms == told, "repeat {repeat}: norms and factors {told:x?} instead of {norms:x?}");
                bits.same(&format!("repeat {repeat}"), want)?;
            }
        }
    }
    Ok(())
}

/// Steps that overflow: the first, two in a row, and the last but one.
const OVERFLOWS: [usize; 4] = [0, 4, 5, 8];
const STEPS: u64 = 10;

/// Ten steps with changes and overflows. Returns the final state, the last step's statistics, and the scale after each
/// step.
async fn changing_run(gpu: &Gpu, submit_each: bool) -> Result<(Bits, StepStatistics, Vec<f32>)> {
    let control = GradientControl { max_norm: Some(0.5), loss_scale: DYNAMIC, ..Default::default() };
    let mut rig = Rig::mixed(gpu, control)?;
    let late = TwinTensor::alone(gpu, "late", 70);
    let room: u64 = rig.tensors.iter().map(|tensor| tensor.length).sum::<u64>() + late.length;
    // Writes of the queue run before all recorded commands, so each step copies its gradients from a separate buffer.
    let mut sources = Vec::new();
    for step in 0..STEPS {
        let mut grads: Vec<f32> = values(700 + step, room).into_iter().map(|x| x * 1024.0).collect();
        if OVERFLOWS.contains(&(step as usize)) {
            // In a different tensor each time.
            grads[(step * 173) as usize] = f32::NEG_INFINITY;
        }
        let source = storage(gpu, room * 4);
        gpu.queue.write_buffer(&source, 0, bytemuck::cast_slice(&grads));
        sources.push(source);
    }
    let history = storage(gpu, STEPS * 4);
    let mut late = Some(late);
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    for (step, source) in sources.iter().enumerate() {
        match step {
            1 => rig.adam.set_lr(0, 0.003)?,
            2 => rig.adam.set_gradient_control(GradientControl { norm_type: NormType::Infinity, ..control })?,
            3 => rig.set_grad("a3", false)?,
            // Adds a tensor between two overflows.
            5 => late.take().map(|late| rig.add(late)).transpose()?.unwrap_or_default(),
            6 => rig.set_grad("a3", true)?,
            7 => rig.adam.set_betas(1, (0.5, 0.9))?,
            9 => {
                let control = *rig.adam.gradient_control();
                rig.adam.set_gradient_control(GradientControl { max_norm: None, clip_value: Some(0.1), ..control })?;
            }
            _ => {}
        }
        let mut from = 0;
        for tensor in &rig.tensors {
            if tensor.length > 0 {
                let (to, at) = (tensor.grad.buffer(), tensor.grad.offset());
                encoder.copy_buffer_to_buffer(source, from, to, at, Some(tensor.length * 4));
            }
            from += tensor.length * 4;
        }
        rig.adam.record_step(&mut encoder)?;
        if let Some(scale) = rig.adam.loss_scale_buffer() {
            encoder.copy_buffer_to_buffer(scale, 0, &history, step as u64 * 4, Some(4));
        }
        if submit_each {
            gpu.queue.submit([encoder.finish()]);
            encoder = gpu.device.create_command_encoder(&Default::default());
        }
    }
    gpu.queue.submit([encoder.finish()]);
    let scales = crate::readback::read_f32(gpu, &history, 0, STEPS).await?;
    Ok((rig.bits().await?, rig.adam.statistics().await?, scales))
}

pub async fn ten_steps(gpu: &Gpu) -> Result<()> {
    let (one, told, scales) = changing_run(gpu, false).await?;
    let (ten, also, also_scales) = changing_run(gpu, true).await?;
    let counts = (told.step, told.steps_taken, told.steps_skipped);
    ensure!(counts == (10, 6, 4), "{told:?}");
    // Backs off at steps 1, 5, 6 and 9. Grows after two steps in a row without overflow: 3, 8.
    let want = [512.0, 512.0, 1024.0, 1024.0, 512.0, 256.0, 256.0, 512.0, 256.0, 256.0];
    ensure!(scales == want, "scales {scales:?} instead of {want:?}");
    ensure!(told == also && scales == also_scales, "{told:?} and {also:?}, {scales:?} and {also_scales:?}");
    one.same("one encoder against ten", &ten)
}

/// Every kind of scale after every other in one encoder: a backward pass reads the same scale that its step divides by.
pub async fn scales(gpu: &Gpu) -> Result<()> {
    let dynamic =
        |init| LossScale::Dynamic { init_scale: init, growth_factor: 2.0, backoff_factor: 0.5, growth_interval: 1 };
    let kinds = [
        (LossScale::Fixed(8.0), 8.0),
        (LossScale::Fixed(32.0), 32.0),
        (dynamic(1024.0), 1024.0),
        (LossScale::None, 1.0),
        (dynamic(64.0), 64.0),
        (dynamic(256.0), 256.0),
        (LossScale::Fixed(8.0), 8.0),
    ];
    for max_norm in [None, Some(1e9)] {
        let mut rig =
            Rig::alone(gpu, &[1], GradientControl { max_norm, loss_scale: kinds[0].0, ..Default::default() })?;
        let scale = rig.adam.loss_scale_buffer().ok_or_else(|| anyhow::anyhow!("no loss scale"))?.clone();
        rig.write_grad(0, vec![1.0]);
        let history = storage(gpu, 4 * 2 * kinds.len() as u64);
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        let mut want = Vec::new();
        for (loss_scale, first) in kinds {
            let control = GradientControl { max_norm, loss_scale, ..Default::default() };
            rig.adam.record_gradient_control(&mut encoder, control)?;
            ensure!(*rig.adam.gradient_control() == control, "{:?}", rig.adam.gradient_control());
            let grows = matches!(loss_scale, LossScale::Dynamic { .. });
            for value in [first, if grows { 2.0 * first } else { first }] {
                // The gradient of a loss whose own gradient is 1.
                encoder.copy_buffer_to_buffer(&scale, 0, rig.tensors[0].grad.buffer(), 0, Some(4));
                encoder.copy_buffer_to_buffer(&scale, 0, &history, 4 * want.len() as u64, Some(4));
                rig.adam.record_step(&mut encoder)?;
                rig.took(|grad| grad)?;
                want.push(value);
            }
        }
        ensure!(rig.adam.loss_scale_buffer() == Some(&scale), "the buffer has moved");
        gpu.queue.submit([encoder.finish()]);
        let scales = crate::readback::read_f32(gpu, &history, 0, want.len() as u64).await?;
        ensure!(scales == want, "max_norm {max_norm:?}: scales {scales:?} instead of {want:?}");
        rig.check(&format!("max_norm {max_norm:?}")).await?;
    }
    Ok(())
}

/// A device with small limits measures in more dispatches of folded grids. Its steps have the same bits if the norm
/// does not depend on an order.
pub async fn small_limits(gpu: &Gpu) -> Result<()> {
    // The ledger is bound as a whole.
    let small = gpu.small(small_workgroups(128 << 10)).await?;
    // As many invocations as no power of two is.
    let invocations = wgpu::Limits {
        max_compute_invocations_per_workgroup: 100,
        max_compute_workgroup_size_x: 100,
        ..small_workgroups(128 << 10)
    };
    let odd = gpu.small(invocations).await?;
    for norm_type in [NormType::Infinity, NormType::Two] {
        let control = GradientControl { max_norm: Some(0.5), norm_type, skip_nonfinite: true, ..Default::default() };
        let mut results: Vec<Bits> = Vec::new();
        for gpu in [gpu, &small, &odd] {
            let mut rig = Rig::in_arena(gpu, &[100_000, 3, 257, 65_537, 1000, 1001], control)?;
            rig.add(TwinTensor::alone(gpu, "alone", 99_999))?;
            for round in 0..4 {
                rig.write_grads(round, 1.0);
                let size = norm(rig.grads(), norm_type);
                if round == 2 {
                    rig.poke_grad(3, 65_536, f32::NEG_INFINITY);
                }
                rig.adam.step()?;
                let told = rig.adam.statistics().await?;
                ensure!(told.found_inf == (round == 2), "step {round}: {told:?}");
                if round != 2 {
                    let off = relative(told.grad_norm, size);
                    ensure!(off <= super::norms::NORM_ERROR, "step {round}: norm {} is not {size}", told.grad_norm);
                    rig.took(|grad| grad * clip_factor(size, 0.5))?;
                }
            }
            rig.check(&format!("{norm_type:?}, {} bytes", gpu.device.limits().max_buffer_size)).await?;
            results.push(rig.bits().await?);
        }
        if norm_type == NormType::Infinity {
            results[1].same("small limits", &results[0])?;
            results[2].same("an odd number of invocations", &results[0])?;
        }
    }
    small.check_errors()?;
    odd.check_errors()
}

/// Grids that are folded have workgroups past the last: what lies behind a dispatch's records, which is the next one's, is
/// not theirs.
pub async fn surplus(gpu: &Gpu) -> Result<()> {
    // Bindings that reach far: what is measured takes more than a row as well.
    let small = gpu.small(small_workgroups(1 << 20)).await?;
    for clip_norm in [None, Some(0.5)] {
        // By turns in two groups: their tensors are no neighbours, so that each group has many records.
        let (mut plain, mut amsgrad) = (Vec::new(), Vec::new());
        for (number, tensor) in arena(&small, &[1000; 20])?.into_iter().enumerate() {
            if number % 2 == 0 { plain.push(tensor) } else { amsgrad.push(tensor) }
        }
        let groups: Vec<(Vec<TwinTensor>, Options)> =
            vec![(plain, |group| group), (amsgrad, |group| group.amsgrad(true))];
        let mut rig = Rig::new(&small, groups, GradientControl { max_norm: clip_norm, ..Default::default() })?;
        rig.add(TwinTensor::alone(&small, "long", 45_001))?;
        for round in 0..3 {
            rig.write_grads(round, 1.0);
            let size = norm(rig.grads(), NormType::Two);
            rig.adam.step()?;
            rig.took(|grad| grad * clip_norm.map_or(1.0, |bound| clip_factor(size, bound)))?;
            if clip_norm.is_some() {
                let told = rig.adam.statistics().await?;
                let off = relative(told.grad_norm, size);
                ensure!(off <= super::norms::NORM_ERROR, "step {round}: norm {} is not {size}", told.grad_norm);
            }
        }
        rig.check(&format!("clip_norm {clip_norm:?}")).await?;
    }
    small.check_errors()
}
