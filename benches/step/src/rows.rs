//! The rows: each is a step and the contenders that it is compared with.

use anyhow::Result;
use serde::Serialize;
use wgpu_adam::AdamConfig;

use crate::adam::Adam;
use crate::device::Gpu;
use crate::models::{self, equal, gpt2, resnet18};
use crate::rounds::{Contender, Rounds, Spread, Times, measure};
use crate::yardstick::{Calls, Copy, Loop};

/// The contenders that rows are compared with, apart from those special to one row.
pub const COPY: &str = "copy";
pub const ONE_TENSOR: &str = "one tensor";

pub struct Row {
    pub name: &'static str,
    /// Whether a quick run includes it.
    pub quick: bool,
    setup: fn(&Gpu) -> Result<Setup>,
}

/// A step, and the contenders that alternate with it.
struct Setup {
    adam: Adam,
    amsgrad: bool,
    beside: Vec<(&'static str, Box<dyn Contender>)>,
}

#[derive(Serialize)]
pub struct Measured {
    pub name: &'static str,
    /// The number of elements that are stepped: those with gradients.
    pub elements: u64,
    pub tensors: usize,
    pub groups: usize,
    pub dispatches: usize,
    pub bytes_per_element: u32,
    pub state_bytes_per_element: f64,
    pub rounds: usize,
    pub milliseconds: Spread,
    pub gpu_milliseconds: Option<Spread>,
    pub gigabytes_per_second: f64,
    pub beside: Vec<Beside>,
}

/// A contender that alternated with the row, and the ratios of the row's time to the contender's, round by round.
#[derive(Serialize)]
pub struct Beside {
    pub name: &'static str,
    pub milliseconds: Spread,
    pub ratio: Spread,
    pub gpu_ratio: Option<Spread>,
}

pub fn rows() -> Vec<Row> {
    let row = |name, quick, setup| Row { name, quick, setup };
    vec![
        row("2^20", true, |gpu| one(gpu, 1 << 20, AdamConfig::default())),
        row("2^22", false, |gpu| one(gpu, 1 << 22, AdamConfig::default())),
        row("2^24", false, |gpu| one(gpu, 1 << 24, AdamConfig::default())),
        row("2^22, amsgrad", false, |gpu| one(gpu, 1 << 22, AdamConfig { amsgrad: true, ..Default::default() })),
        row("2^22, L2 weight decay", false, |gpu| {
            one(gpu, 1 << 22, AdamConfig { weight_decay: 1e-2, ..Default::default() })
        }),
        row("2^22, AdamW", false, |gpu| one(gpu, 1 << 22, AdamConfig::adamw())),
        row("1,000 x 1,024, arena", true, |gpu| many(gpu, arena(gpu, 1000, 1024, 1)?)),
        row("4,000 x 256, arena", true, |gpu| many(gpu, arena(gpu, 4000, 256, 1)?)),
        row("GPT-2, arena", false, |gpu| many(gpu, Adam::arena(gpu, &gpt2(), 1, AdamConfig::default())?)),
        row("ResNet-18, arena", false, |gpu| many(gpu, Adam::arena(gpu, &resnet18(), 1, AdamConfig::default())?)),
        row("1,000 x 1,024, 28 groups", true, |gpu| many(gpu, arena(gpu, 1000, 1024, 28)?)),
        row("4,000 x 256, 28 groups", true, |gpu| many(gpu, arena(gpu, 4000, 256, 28)?)),
        row("1,000 x 1,024, a tenth missing", true, |gpu| many(gpu, arena(gpu, 1000, 1024, 1)?.missing()?)),
        row("1,000 x 1,024, another tenth every step", true, |gpu| many(gpu, arena(gpu, 1000, 1024, 1)?.changing()?)),
        row("1,000 x 1,024, own buffers", true, |gpu| {
            let adam = Adam::own(gpu, &equal(1000, 1024))?;
            let by_hand = Loop::new(gpu, &adam, Calls::Least)?;
            Ok(many(gpu, adam)?.and("loop by hand", by_hand))
        }),
        row("1,000 x 1,023, own buffers", true, |gpu| {
            let even = Adam::own(gpu, &equal(1000, 1024))?;
            Ok(many(gpu, Adam::own(gpu, &equal(1000, 1023))?)?.and("1,024", even))
        }),
        row("1,000 x 1,023, packed in one buffer", true, |gpu| {
            let padded = arena(gpu, 1000, 1023, 1)?;
            Ok(many(gpu, Adam::packed(gpu, &equal(1000, 1023))?)?.and("padded arena", padded))
        }),
        row("2^22, clip_norm and skip", false, |gpu| {
            let plain = Adam::one(gpu, 1 << 22, AdamConfig::default())?;
            Ok(one(gpu, 1 << 22, AdamConfig::default())?.controlled()?.and("plain", plain))
        }),
        row("1,000 x 1,024, arena, clip_norm and skip", true, |gpu| {
            Ok(many(gpu, arena(gpu, 1000, 1024, 1)?.controlled()?)?.and("plain", arena(gpu, 1000, 1024, 1)?))
        }),
        row("1,000 own buffers, clip_norm and skip", true, |gpu| {
            let plain = Adam::own(gpu, &equal(1000, 1024))?;
            Ok(many(gpu, Adam::own(gpu, &equal(1000, 1024))?.controlled()?)?.and("plain", plain))
        }),
    ]
}

fn arena(gpu: &Gpu, count: usize, length: usize, groups: usize) -> Result<Adam> {
    Adam::arena(gpu, &models::equal(count, length), groups, AdamConfig::default())
}

/// One tensor, beside a copy.
fn one(gpu: &Gpu, elements: u64, config: AdamConfig) -> Result<Setup> {
    let copy = Copy::new(gpu, elements, config.amsgrad)?;
    let adam = Adam::one(gpu, elements, config)?;
    Ok(Setup { adam, amsgrad: config.amsgrad, beside: Vec::new() }.and(COPY, copy))
}

/// Many tensors, beside a copy and beside one tensor of the same total.
fn many(gpu: &Gpu, adam: Adam) -> Result<Setup> {
    let elements = adam.elements()?;
    let copy = Copy::new(gpu, elements, false)?;
    let one = Adam::one(gpu, elements, AdamConfig::default())?;
    Ok(Setup { adam, amsgrad: false, beside: Vec::new() }.and(COPY, copy).and(ONE_TENSOR, one))
}

impl Setup {
    /// Clips the step's gradients by norm, and skips the step if they are not finite.
    fn controlled(mut self) -> Result<Self> {
        self.adam = self.adam.controlled()?;
        Ok(self)
    }

    /// Returns the step's times, then those of the other contenders.
    fn measure(&mut self, gpu: &Gpu, rounds: Rounds) -> Result<Vec<Times>> {
        let mut contenders: Vec<&mut dyn Contender> = vec![&mut self.adam];
        for (_, contender) in &mut self.beside {
            contenders.push(&mut **contender);
        }
        measure(gpu, rounds, &mut contenders)
    }

    fn and(mut self, name: &'static str, contender: impl Contender + 'static) -> Self {
        self.beside.push((name, Box::new(contender)));
        self
    }
}

impl Row {
    pub fn measure(&self, gpu: &Gpu, rounds: Rounds) -> Result<Measured> {
        let mut times: Vec<Times> = Vec::new();
        // Kept alive, so that the next setup gets other memory.
        let mut setups = Vec::new();
        for _ in 0..rounds.placements {
            let mut setup = (self.setup)(gpu)?;
            let measured = setup.measure(gpu, rounds)?;
            times.resize_with(measured.len(), Times::default);
            times.iter_mut().zip(measured).for_each(|(all, these)| all.extend(these));
            setups.push(setup);
        }
        let (Some((own, others)), Some(Setup { adam, amsgrad, beside })) = (times.split_first(), setups.pop()) else {
            anyhow::bail!("nothing was measured")
        };
        let milliseconds = Spread::of(own.wall.iter().copied());
        let elements = adam.elements()?;
        let bytes_per_element = if amsgrad { 36 } else { 28 };
        let beside = beside.iter().zip(others).map(|((name, _), other)| Beside {
            name,
            milliseconds: Spread::of(other.wall.iter().copied()),
            ratio: own.ratio(other),
            gpu_ratio: own.gpu_ratio(other),
        });
        Ok(Measured {
            name: self.name,
            elements,
            tensors: adam.tensors.len(),
            groups: adam.groups,
            dispatches: adam.dispatches(),
            bytes_per_element,
            state_bytes_per_element: adam.state_bytes_per_element()?,
            rounds: own.wall.len(),
            milliseconds,
            gpu_milliseconds: (!own.gpu.is_empty()).then(|| Spread::of(own.gpu.iter().copied())),
            gigabytes_per_second: elements as f64 * f64::from(bytes_per_element) / milliseconds.median / 1e6,
            beside: beside.collect(),
        })
    }
}
