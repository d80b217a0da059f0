//! Mistakes: each returns its error, changes nothing, records nothing, and does not reach wgpu.
//!
//! Every row is a mistake on a running optimizer, or beside it. Another optimizer does the same without mistakes. The
//! step after a mistake, recorded into the encoder that the mistake received, must give the same bits on both.

mod arenas;
mod control;
mod dicts;
mod gradients;
mod ids;
mod legal;
mod options;
mod params;
mod small;
mod subject;
mod unsubmitted;

use anyhow::{Context, Result, bail, ensure};
use wgpu_adam::{Error, ParamId, StateDict, TensorBuffer};

use crate::{Body, Gpu, body};
use subject::{Snapshot, Subject};

pub const BODIES: &[(&str, Body)] = &[
    body!("mistakes/options", gpu => run(gpu, options::rows())),
    body!("mistakes/parameters", gpu => run(gpu, params::rows())),
    body!("mistakes/gradients", gpu => run(gpu, gradients::rows())),
    body!("mistakes/gradient control", gpu => run(gpu, control::rows())),
    body!("mistakes/moments", gpu => run(gpu, gradients::moments())),
    body!("mistakes/ids, groups and names", gpu => run(gpu, ids::rows())),
    body!("mistakes/arenas", gpu => run(gpu, arenas::rows())),
    body!("mistakes/state dicts", gpu => run(gpu, dicts::rows())),
    body!("mistakes/small bindings", gpu => small::bindings(gpu)),
    body!("mistakes/controls that small bindings refuse", gpu => small::controls(gpu)),
    body!("mistakes/too small devices", gpu => small::devices(gpu)),
    body!("mistakes/unsubmitted steps", gpu => unsubmitted::found(gpu)),
    body!("mistakes/empty tensors and groups are none", gpu => legal::empty(gpu)),
    body!("mistakes/what may look like one", gpu => legal::unusual(gpu)),
];

type Mistake = Box<dyn Fn(&mut Case<'_>) -> Result<(), Error>>;

struct Row {
    name: String,
    mistake: Mistake,
    is_kind: fn(&Error) -> bool,
    /// The pattern of the expected error.
    kind: &'static str,
    /// A part of its message.
    text: String,
}

/// A name, a mistake, the pattern of its error, a part of the message.
macro_rules! row {
    ($name:expr, $mistake:expr, $kind:pat, $text:expr $(,)?) => {
        $crate::mistakes::Row {
            name: $name.into(),
            mistake: Box::new($mistake),
            is_kind: |error| matches!(error, $kind),
            kind: stringify!($kind),
            text: $text.into(),
        }
    };
}
use row;

/// Formats a number as messages do.
fn shown(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 { value.to_string() } else { format!("{value:?}") }
}

/// Everything that a mistake can use.
struct Case<'a> {
    gpu: &'a Gpu,
    subject: &'a mut Subject,
    /// The encoder that the mistake receives; the next step is recorded into it.
    encoder: &'a mut wgpu::CommandEncoder,
    /// A parameter of another optimizer.
    foreign: ParamId,
    /// A state dict that the optimizer would accept.
    dict: &'a StateDict,
    /// A buffer of another device.
    elsewhere: &'a wgpu::Buffer,
}

impl Case<'_> {
    fn id(&self, name: &str) -> ParamId {
        self.subject.ids[name]
    }

    fn buffer(&self, bytes: u64) -> wgpu::Buffer {
        crate::twin::storage(self.gpu, bytes)
    }

    fn buffer_for(&self, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("mistake"),
            size: 4096,
            usage,
            mapped_at_creation: false,
        })
    }

    /// Elements of the pool from `start` on.
    fn pool(&self, start: u64) -> TensorBuffer {
        (&self.subject.pool, start * 4).into()
    }
}

/// The optimizer with mistakes, and the one without.
struct Pair<'a> {
    gpu: &'a Gpu,
    subject: Subject,
    partner: Subject,
    before: Snapshot,
    dict: StateDict,
    elsewhere: wgpu::Buffer,
}

impl<'a> Pair<'a> {
    async fn new(gpu: &'a Gpu, elsewhere: &wgpu::Buffer) -> Result<Self> {
        let (mut subject, mut partner) = (Subject::new(gpu)?, Subject::new(gpu)?);
        subject.adam.step()?;
        partner.adam.step()?;
        let before = subject.snapshot(gpu).await?;
        let dict = subject.adam.state_dict().await?;
        Ok(Self { gpu, subject, partner, before, dict, elsewhere: elsewhere.clone() })
    }

    async fn check(&mut self, row: &Row) -> Result<()> {
        let Self { gpu, subject, partner, before, dict, elsewhere } = self;
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        let foreign = partner.ids["a"];
        let mut case = Case { gpu, subject, encoder: &mut encoder, foreign, dict, elsewhere };
        let error = (row.mistake)(&mut case).err().context("it was accepted")?;
        log::info!("{}: {error}", row.name);
        ensure!((row.is_kind)(&error), "{error:?} instead of {}", row.kind);
        let message = error.to_string();
        ensure!(message.contains(&row.text), "the message is '{message}', without '{}'", row.text);
        gpu.check_errors()?;
        before.same(&subject.snapshot(gpu).await?).context("the mistake changed something")?;

        for (subject, encoder) in
            [(subject, encoder), (partner, gpu.device.create_command_encoder(&Default::default()))]
        {
            let mut encoder = encoder;
            subject.write_grads(gpu);
            subject.adam.record_step(&mut encoder).context("the next step")?;
            gpu.queue.submit([encoder.finish()]);
        }
        gpu.check_errors()?;
        *before = self.subject.snapshot(gpu).await?;
        let want = self.partner.snapshot(gpu).await?;
        want.same_run(&self.before).context("the next step differs from one without the mistake")
    }
}

/// Runs every row; a row that fails does not hide the others.
async fn run(gpu: &Gpu, rows: Vec<Row>) -> Result<()> {
    let other = Gpu::default_limits(&gpu.adapter).await?;
    let elsewhere = crate::twin::storage(&other, 4096);
    let mut pair = Pair::new(gpu, &elsewhere).await?;
    let mut failures = Vec::new();
    for row in &rows {
        if let Err(problem) = pair.check(row).await {
            failures.push(format!("  {}: {problem:#}", row.name));
            // Further device errors belong to this row, so they are cleared.
            let _ = gpu.check_errors();
            pair = Pair::new(gpu, &elsewhere).await?;
        }
    }
    if !failures.is_empty() {
        bail!("{} of {} mistakes:\n{}", failures.len(), rows.len(), failures.join("\n"));
    }
    log::info!("{} mistakes", rows.len());
    other.check_errors()
}
