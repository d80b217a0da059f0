//! Rounds: contenders take turns, so that disturbances of the machine affect all of them.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use crate::device::Gpu;

/// A participant in rounds.
pub trait Contender {
    /// Runs before the clock starts.
    fn prepare(&mut self) -> Result<()> {
        Ok(())
    }

    /// Encodes one step, or the work that a step is compared with.
    fn encode(&mut self, encoder: &mut wgpu::CommandEncoder) -> Result<()>;
}

/// How many rounds to measure.
#[derive(Clone, Copy)]
pub struct Rounds {
    /// How many times all buffers are created again, at other places in memory. On software adapters the place changes
    /// the time by 5 %. The other numbers apply to each placement.
    pub placements: usize,
    pub warm_up: usize,
    pub least: usize,
    /// Rounds above the minimum must fit into this time.
    pub most: usize,
    pub time: Duration,
}

impl Rounds {
    pub fn new(quick: bool) -> Self {
        if quick {
            Self { placements: 1, warm_up: 2, least: 3, most: 3, time: Duration::ZERO }
        } else {
            Self { placements: 3, warm_up: 2, least: 5, most: 15, time: Duration::from_secs(1) }
        }
    }
}

/// Median, smallest and largest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let half = values.len() / 2;
        let median =
            if values.len().is_multiple_of(2) { (at(half.wrapping_sub(1)) + at(half)) / 2.0 } else { at(half) };
        Self { median, min: at(0), max: at(values.len().wrapping_sub(1)) }
    }
}

/// A contender's milliseconds, round by round.
#[derive(Default)]
pub struct Times {
    pub wall: Vec<f64>,
    /// The GPU's own times, if it reports them.
    pub gpu: Vec<f64>,
}

impl Times {
    /// Adds the rounds of another placement.
    pub fn extend(&mut self, other: Self) {
        self.wall.extend(other.wall);
        self.gpu.extend(other.gpu);
    }

    /// The rounds' ratios of this contender's time to the other's.
    pub fn ratio(&self, other: &Self) -> Spread {
        Spread::of(self.wall.iter().zip(&other.wall).map(|(own, other)| own / other))
    }

    /// The same for the GPU's own times.
    pub fn gpu_ratio(&self, other: &Self) -> Option<Spread> {
        (!self.gpu.is_empty()).then(|| Spread::of(self.gpu.iter().zip(&other.gpu).map(|(own, other)| own / other)))
    }
}

/// Alternates the contenders. The first rounds do not count, because software adapters compile at the first dispatch.
pub fn measure(gpu: &Gpu, rounds: Rounds, contenders: &mut [&mut dyn Contender]) -> Result<Vec<Times>> {
    let timer = Timer::new(gpu);
    let mut times: Vec<Times> = contenders.iter().map(|_| Times::default()).collect();
    for _ in 0..rounds.warm_up {
        for contender in contenders.iter_mut() {
            timer.time(&mut **contender)?;
        }
    }
    let begin = Instant::now();
    for round in 0..rounds.most {
        if round >= rounds.least && begin.elapsed() > rounds.time {
            break;
        }
        for (contender, times) in contenders.iter_mut().zip(&mut times) {
            let (wall, gpu) = timer.time(&mut **contender)?;
            times.wall.push(wall);
            times.gpu.extend(gpu);
        }
    }
    Ok(times)
}

/// Times one encoder, from encoding until its work is done.
pub struct Timer<'a> {
    gpu: &'a Gpu,
    stamps: Option<Stamps>,
}

/// Two timestamps, and the buffers that bring them to the host.
struct Stamps {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    readable: wgpu::Buffer,
    /// Milliseconds per tick.
    tick: f64,
}

impl<'a> Timer<'a> {
    pub fn new(gpu: &'a Gpu) -> Self {
        let stamps = || {
            use wgpu::BufferUsages as Usage;
            Stamps {
                queries: gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
                    label: Some("round"),
                    ty: wgpu::QueryType::Timestamp,
                    count: 2,
                }),
                resolved: gpu.buffer(16, Usage::QUERY_RESOLVE | Usage::COPY_SRC),
                readable: gpu.buffer(16, Usage::MAP_READ | Usage::COPY_DST),
                tick: f64::from(gpu.queue.get_timestamp_period()) * 1e-6,
            }
        };
        Self { gpu, stamps: gpu.has_timestamps().then(stamps) }
    }

    /// Milliseconds of wall time, and of the GPU's own time.
    pub fn time(&self, contender: &mut dyn Contender) -> Result<(f64, Option<f64>)> {
        let Self { gpu, stamps } = self;
        contender.prepare()?;
        let begin = Instant::now();
        let mut encoder = gpu.encoder();
        if let Some(stamps) = stamps {
            encoder.write_timestamp(&stamps.queries, 0);
        }
        contender.encode(&mut encoder)?;
        if let Some(stamps) = stamps {
            encoder.write_timestamp(&stamps.queries, 1);
        }
        gpu.wait(gpu.queue.submit([encoder.finish()]))?;
        let wall = begin.elapsed().as_secs_f64() * 1e3;
        Ok((wall, stamps.as_ref().map(|stamps| stamps.read(gpu)).transpose()?))
    }
}

impl Stamps {
    /// The time between the two timestamps, in milliseconds.
    fn read(&self, gpu: &Gpu) -> Result<f64> {
        let mut encoder = gpu.encoder();
        encoder.resolve_query_set(&self.queries, 0..2, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.readable, 0, 16);
        let submission = gpu.queue.submit([encoder.finish()]);
        self.readable.map_async(wgpu::MapMode::Read, .., |_| {});
        gpu.wait(submission)?;
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&self.readable.get_mapped_range(..)?);
        self.readable.unmap();
        Ok(ticks[1].saturating_sub(ticks[0]) as f64 * self.tick)
    }
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn medians_of_odd_and_even_numbers_of_values() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]), Spread { median: 2.5, min: 1.0, max: 4.0 });
        assert!(Spread::of([]).median.is_nan());
    }
}
