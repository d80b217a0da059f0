//! The classifier 64-128-10 on the GPU: forward, loss and backward, recorded into the caller's encoder.

use std::ops::Range;

use anyhow::{Result, ensure};
use wgpu_adam::TensorArena;

use crate::batches::Batch;
use crate::buffers::{Buffers, COLUMNS};
use crate::data::{CLASSES, Dataset, PIXELS};
use crate::readback::FloatRange;
use crate::stage::{Binding, Shader, Stage, Threads};
use crate::subject::Subject;

/// Units of the hidden layer.
pub const HIDDEN: usize = 128;
/// Digits per training step; the last batch of an epoch is smaller.
pub const BATCH: usize = 64;
/// The parameters, with torch's names and shapes.
pub const PARAMETERS: [(&str, &[usize]); 4] = [
    ("fc1.weight", &[HIDDEN, PIXELS]),
    ("fc1.bias", &[HIDDEN]),
    ("fc2.weight", &[CLASSES, HIDDEN]),
    ("fc2.bias", &[CLASSES]),
];

/// The model's pipelines and buffers; its parameters and their gradients are a [`TensorArena`]'s.
pub struct Model {
    subject: Subject,
    buffers: Buffers,
    forward: [Stage; 3],
    loss_and_backward: [Stage; 4],
}

impl Model {
    /// Compiles the shaders, uploads all digits and connects the model with the [`PARAMETERS`] of `arena`.
    pub fn new(device: &wgpu::Device, queue: &wgpu::Queue, arena: &TensorArena, dataset: &Dataset) -> Result<Self> {
        let subject = Subject::new(device, queue, dataset.train.len(), dataset.test.len());
        let buffers = Buffers::new(device, queue, dataset, subject.batches.loss_slots());
        let shader = Shader {
            device,
            module: device.create_shader_module(wgpu::include_wgsl!("model.wgsl")),
            subject: &subject.layout,
            storage: storage_bindings(&buffers, arena)?,
        };
        let per_digit = |entry, threads, used: &[&str]| shader.stage(entry, Threads::PerDigit(threads), used);
        let fixed = |entry, threads, used: &[&str]| shader.stage(entry, Threads::Fixed(threads), used);
        let forward = [
            per_digit("select_rows", COLUMNS, &["digits", "rows", "inputs"]),
            per_digit("fc1_forward", HIDDEN, &["inputs", "fc1_weight", "fc1_bias", "hidden"]),
            per_digit("fc2_forward", CLASSES, &["hidden", "fc2_weight", "fc2_bias", "logits"]),
        ];
        let loss_and_backward = [
            fixed("cross_entropy", BATCH, &["inputs", "logits", "logits_grad", "losses"]),
            fixed("fc2_backward", CLASSES * HIDDEN, &["hidden", "logits_grad", "fc2_weight_grad", "fc2_bias_grad"]),
            per_digit("hidden_backward", HIDDEN, &["logits_grad", "fc2_weight", "hidden", "hidden_grad"]),
            fixed("fc1_backward", HIDDEN * PIXELS, &["inputs", "hidden_grad", "fc1_weight_grad", "fc1_bias_grad"]),
        ];
        Ok(Self { subject, buffers, forward, loss_and_backward })
    }

    /// The number of training steps in an epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.subject.batches.steps_per_epoch()
    }

    /// The number of losses that are kept: a step's loss overwrites the one this many steps before.
    pub fn loss_slots(&self) -> usize {
        self.subject.batches.loss_slots()
    }

    /// Sets the order in which the batches of an epoch take the rows of the training set.
    pub fn write_epoch_order(&self, queue: &wgpu::Queue, order: &[u32]) {
        queue.write_buffer(&self.buffers.rows, 0, bytemuck::cast_slice(order));
    }

    /// Cuts each batch into `micro_batches` parts, from 1 to [`BATCH`]; a batch with fewer digits has one part per
    /// digit. For the backward pass the loss is multiplied by the first f32 in `loss_scale`, if any. Costs nothing if
    /// neither changes.
    pub fn set_gradients(
        &mut self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        micro_batches: u32,
        loss_scale: Option<&wgpu::Buffer>,
    ) -> Result<()> {
        let count = micro_batches as usize;
        ensure!((1..=BATCH).contains(&count), "a batch of {BATCH} digits cannot be cut in {count} micro-batches");
        self.subject.set(device, queue, count, loss_scale);
        Ok(())
    }

    /// Records forward, loss and backward of training step `step`, counted from 0 over all epochs: one micro-batch
    /// after the other, with their gradients summed. The sum is `micro_batches` times the gradient of the mean loss
    /// over the batch, with equal weights for all digits, times the loss scale.
    ///
    /// The first micro-batch overwrites every element of every gradient, so no gradient has to be zeroed before.
    pub fn record_training(&self, encoder: &mut wgpu::CommandEncoder, step: u64) {
        for batch in self.subject.batches.training(step) {
            self.record(encoder, "forward and backward", self.forward.iter().chain(&self.loss_and_backward), batch);
        }
    }

    /// Records the forward pass of the whole test set. Returns the place of its result, one row of logits per digit.
    pub fn record_test(&self, encoder: &mut wgpu::CommandEncoder) -> FloatRange<'_> {
        self.record_forward(encoder, self.subject.batches.test())
    }

    /// Records the forward pass of the drawn digit. Returns the place of its logits.
    pub fn record_drawn(
        &self,
        queue: &wgpu::Queue,
        encoder: &mut wgpu::CommandEncoder,
        pixels: &[f32; PIXELS],
    ) -> FloatRange<'_> {
        self.buffers.write_drawn(queue, pixels);
        self.record_forward(encoder, self.subject.batches.drawn())
    }

    /// The places of the losses of the training steps `steps`: at most [`Model::loss_slots`] losses, in at most two
    /// ranges.
    pub fn losses(&self, steps: Range<u64>) -> Vec<FloatRange<'_>> {
        let slots = self.loss_slots() as u64;
        let mut pieces = Vec::new();
        let mut start = steps.start;
        while start < steps.end {
            let slot = start % slots;
            let count = (steps.end - start).min(slots - slot);
            let offset = slot * size_of::<f32>() as u64;
            pieces.push(FloatRange { buffer: &self.buffers.losses, offset, count });
            start += count;
        }
        pieces
    }

    fn record_forward(&self, encoder: &mut wgpu::CommandEncoder, batch: Batch) -> FloatRange<'_> {
        self.record(encoder, "forward", self.forward.iter(), batch);
        FloatRange { buffer: &self.buffers.logits, offset: 0, count: u64::from(batch.size) * CLASSES as u64 }
    }

    fn record<'a>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        label: &str,
        stages: impl Iterator<Item = &'a Stage>,
        batch: Batch,
    ) {
        let descriptor = wgpu::ComputePassDescriptor { label: Some(label), timestamp_writes: None };
        let mut pass = encoder.begin_compute_pass(&descriptor);
        self.subject.record(&mut pass, batch);
        for stage in stages {
            stage.record(&mut pass, batch);
        }
    }
}

/// The buffers, with their names and numbers in `model.wgsl`.
fn storage_bindings<'a>(buffers: &'a Buffers, arena: &'a TensorArena) -> Result<Vec<Binding<'a>>> {
    let constant = |number, name, range| Binding { name, number, read_only: true, range };
    let variable = |number, name, range| Binding { name, number, read_only: false, range };
    let whole = wgpu::Buffer::as_entire_buffer_binding;
    Ok(vec![
        constant(0, "digits", whole(&buffers.digits)),
        constant(1, "rows", whole(&buffers.rows)),
        constant(2, "fc1_weight", arena.param("fc1.weight")?),
        constant(3, "fc1_bias", arena.param("fc1.bias")?),
        constant(4, "fc2_weight", arena.param("fc2.weight")?),
        constant(5, "fc2_bias", arena.param("fc2.bias")?),
        variable(6, "inputs", whole(&buffers.inputs)),
        variable(7, "hidden", whole(&buffers.hidden)),
        variable(8, "logits", whole(&buffers.logits)),
        variable(9, "losses", whole(&buffers.losses)),
        variable(10, "logits_grad", whole(&buffers.logits_grad)),
        variable(11, "hidden_grad", whole(&buffers.hidden_grad)),
        variable(12, "fc1_weight_grad", arena.grad("fc1.weight")?),
        variable(13, "fc1_bias_grad", arena.grad("fc1.bias")?),
        variable(14, "fc2_weight_grad", arena.grad("fc2.weight")?),
        variable(15, "fc2_bias_grad", arena.grad("fc2.bias")?),
    ])
}
