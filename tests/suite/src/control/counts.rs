//! Counts of skipped steps that outgrow their buffer, while encoders are recorded, submitted and dropped.

use anyhow::{Context, Result, ensure};
use wgpu_adam::{AdamConfig, GradientControl, ParamGroup, TensorArena, TensorBuffer, WgpuAdam};

use crate::{Gpu, twin::storage};

/// How many tensors the first buffer has room for, and how many after it has grown.
const ROOM: [usize; 2] = [1024, 2048];

/// The fate of an encoder that holds a step.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Submitted,
    Dropped,
    /// Finished, and the command buffer dropped.
    Finished,
}
use Fate::{Dropped, Finished, Submitted};

/// Many tensors of one element.
struct Many<'a> {
    gpu: &'a Gpu,
    adam: WgpuAdam,
    overflow: wgpu::Buffer,
    /// Of tensor 7.
    grad: TensorBuffer,
    /// For each tensor, the recorded steps that were not skipped. Steps in dropped encoders count.
    taken: Vec<u64>,
    name: String,
}

impl<'a> Many<'a> {
    fn new(gpu: &'a Gpu, name: String) -> Result<Self> {
        let arena = TensorArena::new(&gpu.device, (0..ROOM[0]).map(|number| (format!("0.{number}"), [1])))?;
        let mut adam = WgpuAdam::new(&gpu.device, &gpu.queue, arena.params(), AdamConfig::default())?;
        adam.set_gradient_control(GradientControl { skip_nonfinite: true, ..Default::default() })?;
        let grad = arena.grad_buffer("0.7")?;
        let overflow = storage(gpu, 4);
        adam.set_found_inf((&overflow, 0))?;
        Ok(Self { gpu, adam, overflow, grad, taken: vec![0; ROOM[0]], name })
    }

    /// Adds tensors until there is one more than there is room for.
    fn grow(&mut self, time: usize) -> Result<()> {
        let count = ROOM[time - 1] - self.taken.len() + 1;
        let names = (0..count).map(|number| (format!("{time}.{number}"), [1]));
        let arena = TensorArena::new(&self.gpu.device, names)?;
        self.adam.add_param_group(ParamGroup::new(arena.params()))?;
        self.taken.resize(self.taken.len() + count, 0);
        Ok(())
    }

    /// Records a step, skipped or not, into a new encoder, with the commands that set `found_inf`.
    fn record(&mut self, overflows: bool) -> Result<wgpu::CommandEncoder> {
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        let news = storage(self.gpu, 4);
        self.gpu.queue.write_buffer(&news, 0, bytemuck::bytes_of(&f32::from(u8::from(overflows))));
        encoder.copy_buffer_to_buffer(&news, 0, &self.overflow, 0, Some(4));
        self.adam.record_step(&mut encoder)?;
        Ok(encoder)
    }

    fn end(&mut self, encoder: wgpu::CommandEncoder, overflows: bool, fate: Fate) {
        match fate {
            Submitted => drop(self.gpu.queue.submit([encoder.finish()])),
            Dropped => drop(encoder),
            Finished => drop(encoder.finish()),
        }
        if fate != Submitted || !overflows {
            self.taken.iter_mut().for_each(|taken| *taken += 1);
        }
    }

    fn step(&mut self, overflows: bool, fate: Fate) -> Result<()> {
        let encoder = self.record(overflows)?;
        self.end(encoder, overflows, fate);
        Ok(())
    }

    async fn check(&self, when: &str) -> Result<()> {
        let dict = self.adam.state_dict().await?;
        for (id, &taken) in (0..).zip(&self.taken) {
            let step = dict.state.get(&id).map_or(0, |entry| entry.step);
            ensure!(step == taken, "{}, {when}: tensor {id} at step {step} instead of {taken}", self.name);
        }
        Ok(())
    }
}

/// Skipped steps before and after the growth, in encoders of every fate, recorded one by one or all before the first
/// submit. The buffer grows once, and again before any submit.
pub async fn outgrown(gpu: &Gpu) -> Result<()> {
    let fates: [&[Fate]; 6] = [
        &[Submitted, Submitted, Submitted],
        &[Dropped, Submitted, Submitted],
        &[Finished, Dropped, Submitted],
        &[Submitted, Dropped, Submitted],
        &[Submitted, Submitted, Dropped],
        &[Dropped, Finished, Dropped],
    ];
    for (fates, at_once) in fates.into_iter().flat_map(|fates| [(fates, false), (fates, true)]) {
        let mut many = Many::new(gpu, format!("{fates:?}, recorded {}", if at_once { "at once" } else { "in turn" }))?;
        for overflows in [true, false, true] {
            many.step(overflows, Submitted)?;
        }
        many.check("before it grows").await?;
        many.grow(1)?;
        many.check("grown, before a step").await?;
        if at_once {
            // The first and the third step overflow; the first one is recorded before the second growth.
            let mut encoders = Vec::new();
            for (number, &fate) in fates.iter().enumerate() {
                let overflows = number != 1;
                encoders.push((many.record(overflows)?, overflows, fate));
                if number == 0 {
                    many.grow(2)?;
                }
            }
            // Tensors of the last growth were not there for the first step.
            let late = ROOM[0] + 1;
            for (number, (encoder, overflows, fate)) in encoders.into_iter().enumerate() {
                many.end(encoder, overflows, fate);
                if number == 0 {
                    many.taken[late..].fill(0);
                }
            }
        } else {
            for (number, &fate) in fates.iter().enumerate() {
                many.step(number != 1, fate)?;
                many.check(&format!("after {number}")).await?;
            }
            many.grow(2)?;
        }
        many.check("after all").await?;
        for overflows in [true, false] {
            many.step(overflows, Submitted)?;
        }
        many.check("two steps later").await?;
        // By now the host knows that the counts were moved. A reset parameter starts with no skipped steps.
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        many.adam.record_reset_state(&mut encoder, many.adam.find("0.5").context("0.5")?)?;
        gpu.queue.submit([encoder.finish()]);
        many.taken[5] = 0;
        many.step(true, Submitted)?;
        many.step(false, Submitted)?;
        many.check("a parameter reset").await?;
    }
    Ok(())
}

/// A parameter starts anew while its skipped steps are still in the buffer that was outgrown; one that was never in there
/// does too.
pub async fn reset_before_moved(gpu: &Gpu) -> Result<()> {
    let mut many = Many::new(gpu, "reset before the counts are moved".into())?;
    for overflows in [true, false, true] {
        many.step(overflows, Submitted)?;
    }
    many.grow(1)?;
    // Makes the larger buffer, and moves nothing.
    many.step(true, Dropped)?;
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    for (name, number) in [("0.5", 5), ("0.1023", ROOM[0] - 1), ("1.0", ROOM[0])] {
        many.adam.record_reset_state(&mut encoder, many.adam.find(name).context(name)?)?;
        many.taken[number] = 0;
    }
    gpu.queue.submit([encoder.finish()]);
    gpu.check_errors()?;
    for overflows in [false, true, false] {
        many.step(overflows, Submitted)?;
        many.check("reset").await?;
    }
    Ok(())
}

/// Counts that were asked for before their buffer grew are asked for again: the answer has room for all of them.
pub async fn asked_again(gpu: &Gpu) -> Result<()> {
    let mut many = Many::new(gpu, "asked before and after growing".into())?;
    let grad = many.grad.clone();
    for grows in [false, true] {
        if grows {
            many.grow(1)?;
        }
        // One tensor misses a step: they part, and rejoin when it is known what was skipped.
        let id = many.adam.find("0.7").context("0.7")?;
        many.adam.set_grad_to_none(id)?;
        many.step(true, Submitted)?;
        many.step(false, Submitted)?;
        many.taken[7] -= 1;
        many.adam.set_grad(id, grad.clone())?;
        for overflows in [false, true, false, false] {
            many.step(overflows, Submitted)?;
            many.check("asked").await?;
        }
        gpu.check_errors()?;
    }
    Ok(())
}
