//! Costs on the host: recording a step, making an optimizer. Nothing waits for GPU work, and none is submitted.

use std::time::Instant;

use anyhow::Result;
use serde::Serialize;
use wgpu_adam::{AdamConfig, ParamGroup, TensorArena, WgpuAdam};

use crate::adam::Adam;
use crate::count::{Counts, calls};
use crate::device::Gpu;
use crate::models::{Shapes, equal};
use crate::rounds::{Contender, Spread};
use crate::yardstick::{Calls, Loop};

const TENSORS: usize = 1000;
const LENGTH: usize = 1024;

/// Recording a step into an encoder.
#[derive(Serialize)]
pub struct Recording {
    pub name: &'static str,
    pub tensors: usize,
    /// Removing and restoring gradients before the step.
    pub prepare_microseconds: Spread,
    pub record_microseconds: Spread,
    /// wgpu's own work when the encoder is finished.
    pub finish_microseconds: Spread,
    pub dispatches: usize,
    pub state_bytes_per_element: Option<f64>,
    /// Calls of wgpu while recording one step.
    pub calls: Counts,
}

/// The time of creating something, in milliseconds.
#[derive(Serialize)]
pub struct Making {
    pub name: &'static str,
    pub milliseconds: Spread,
}

/// How many times each is measured.
#[derive(Clone, Copy)]
pub struct Repeats {
    pub recordings: usize,
    pub makings: usize,
}

impl Repeats {
    pub fn new(quick: bool) -> Self {
        if quick { Self { recordings: 20, makings: 3 } } else { Self { recordings: 200, makings: 11 } }
    }
}

pub fn recordings(gpu: &Gpu, repeats: Repeats) -> Result<Vec<Recording>> {
    let config = AdamConfig::default();
    let shapes = equal(TENSORS, LENGTH);
    let cases: [(&str, Adam); 6] = [
        ("one tensor", Adam::one(gpu, (TENSORS * LENGTH) as u64, config)?),
        ("1,000, arena", Adam::arena(gpu, &shapes, 1, config)?),
        ("1,000, 28 groups", Adam::arena(gpu, &shapes, 28, config)?),
        ("1,000, a tenth missing", Adam::arena(gpu, &shapes, 1, config)?.missing()?),
        ("1,000, another tenth every step", Adam::arena(gpu, &shapes, 1, config)?.changing()?),
        ("1,000, own buffers", Adam::own(gpu, &shapes)?),
    ];
    let mut measured = Vec::new();
    for (name, mut adam) in cases {
        let recording = recording(gpu, repeats, name, adam.tensors.len(), &mut adam)?;
        let state_bytes_per_element = Some(adam.state_bytes_per_element()?);
        measured.push(Recording { dispatches: adam.dispatches(), state_bytes_per_element, ..recording });
    }
    let own = Adam::own(gpu, &shapes)?;
    for (name, calls) in [("1,000, wgpu: the same calls", Calls::Library), ("1,000, wgpu: the least", Calls::Least)] {
        let mut by_hand = Loop::new(gpu, &own, calls)?;
        let recording = recording(gpu, repeats, name, TENSORS, &mut by_hand)?;
        measured.push(Recording { dispatches: TENSORS, ..recording });
    }
    Ok(measured)
}

fn recording(
    gpu: &Gpu,
    repeats: Repeats,
    name: &'static str,
    tensors: usize,
    contender: &mut dyn Contender,
) -> Result<Recording> {
    let mut times: [Vec<f64>; 3] = [const { Vec::new() }; 3];
    let mut counts = Counts::new();
    for round in 0..repeats.recordings + 3 {
        let begin = Instant::now();
        contender.prepare()?;
        let prepared = begin.elapsed();
        let mut encoder = gpu.encoder();
        if round == 2 {
            // Counts in the last warm-up round, because the log takes time.
            let (counted, recorded) = calls(|| contender.encode(&mut encoder));
            recorded?;
            counts = counted;
            continue;
        }
        let begin = Instant::now();
        contender.encode(&mut encoder)?;
        let recorded = begin.elapsed();
        let begin = Instant::now();
        let commands = encoder.finish();
        let finished = begin.elapsed();
        drop(commands);
        // Submits the pending buffer writes, so that they do not pile up.
        gpu.wait(gpu.queue.submit([]))?;
        if round > 2 {
            for (times, time) in times.iter_mut().zip([prepared, recorded, finished]) {
                times.push(time.as_secs_f64() * 1e6);
            }
        }
    }
    let [prepare, record, finish] = times.map(Spread::of);
    Ok(Recording {
        name,
        tensors,
        prepare_microseconds: prepare,
        record_microseconds: record,
        finish_microseconds: finish,
        dispatches: 0,
        state_bytes_per_element: None,
        calls: counts,
    })
}

pub fn makings(gpu: &Gpu, repeats: Repeats) -> Result<Vec<Making>> {
    let (one, many) = (equal(1, TENSORS * LENGTH), equal(TENSORS, LENGTH));
    let more: Shapes = many.iter().map(|(name, shape)| (format!("more.{name}"), shape.clone())).collect();
    let arena = |shapes: &Shapes| TensorArena::new(&gpu.device, shapes.iter().cloned());
    let (one, many_arena, more) = (arena(&one)?, arena(&many)?, arena(&more)?);
    let new = |arena: &TensorArena| WgpuAdam::new(&gpu.device, &gpu.queue, arena.params(), AdamConfig::default());
    let mut first = None;
    let mut times: [Vec<f64>; 4] = [const { Vec::new() }; 4];
    for _ in 0..repeats.makings {
        let (arena_time, _) = timed(|| arena(&many))?;
        let (many_time, mut adam) = timed(|| new(&many_arena))?;
        let (one_time, _) = timed(|| new(&one))?;
        let group = ParamGroup::new(more.params());
        let (group_time, ()) = timed(|| adam.add_param_group(group).map(drop))?;
        first.get_or_insert(many_time);
        for (times, time) in times.iter_mut().zip([arena_time, one_time, many_time, group_time]) {
            times.push(time);
        }
        gpu.wait(gpu.queue.submit([]))?;
    }
    // Differences within the same run: the time that the tensors themselves take.
    let net: Vec<f64> = times[2].iter().zip(&times[1]).map(|(many, one)| many - one).collect();
    let [arena, one, many, group] = times.map(Spread::of);
    let making = |name, milliseconds| Making { name, milliseconds };
    Ok(vec![
        making("TensorArena::new, 1,000", arena),
        making("new, one tensor: the kernels", one),
        making("new, 1,000, the first time", Spread::of(first)),
        making("new, 1,000", many),
        making("new, 1,000, less the kernels", Spread::of(net)),
        making("add_param_group, 1,000", group),
    ])
}

fn timed<T, E: Into<anyhow::Error>>(work: impl FnOnce() -> Result<T, E>) -> Result<(f64, T)> {
    let begin = Instant::now();
    let made = work().map_err(Into::into)?;
    Ok((begin.elapsed().as_secs_f64() * 1e3, made))
}
