//! The training loop, one step at a time.

use anyhow::{Context, Result, ensure};
use wgpu_adam::{AdamConfig, Checkpoint, CheckpointLoad, TensorArena, WgpuAdam};

use crate::data::{CLASSES, Dataset, PIXELS};
use crate::model::{HIDDEN, Model, PARAMETERS};
use crate::readback::submit_and_read;
use crate::rules::{epoch_order, uniform};

/// Trains the model with Adam; each step is one submission, and none waits for the GPU.
pub struct Trainer {
    device: wgpu::Device,
    queue: wgpu::Queue,
    arena: TensorArena,
    model: Model,
    adam: WgpuAdam,
    train_len: u32,
    test_labels: Vec<u8>,
    steps: u64,
    losses_read: u64,
}

impl Trainer {
    /// What a device must be opened with: less than any WebGPU device has.
    pub fn required_limits() -> wgpu::Limits {
        wgpu::Limits::downlevel_defaults().or_better_values_from(&WgpuAdam::required_limits())
    }

    /// A model with the initial weights of `digits_torch_run.py`, and Adam with `config` for all of its parameters.
    pub fn new(device: &wgpu::Device, queue: &wgpu::Queue, config: AdamConfig) -> Result<Self> {
        let dataset = Dataset::embedded()?;
        let arena = TensorArena::new(device, PARAMETERS)?;
        // The biases keep the zeros of a new buffer.
        arena.write_param(queue, "fc1.weight", &uniform(0, HIDDEN * PIXELS, 1.0 / (PIXELS as f64).sqrt()))?;
        arena.write_param(queue, "fc2.weight", &uniform(2, CLASSES * HIDDEN, 1.0 / (HIDDEN as f64).sqrt()))?;
        let model = Model::new(device, queue, &arena, &dataset)?;
        let adam = WgpuAdam::new(device, queue, arena.params(), config)?;
        Ok(Self {
            device: device.clone(),
            queue: queue.clone(),
            arena,
            model,
            adam,
            train_len: dataset.train.len() as u32,
            test_labels: dataset.test.iter().map(|digit| digit.label).collect(),
            steps: 0,
            losses_read: 0,
        })
    }

    /// Goes on where the run was of which this is a checkpoint: parameters, Adam's state and options, and the place in the
    /// order of the batches.
    pub async fn resume(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let state = &checkpoint.outline().state;
        let steps = state.first_key_value().context("the checkpoint is of a run without steps")?.1.step;
        ensure!(
            state.values().all(|entry| entry.step == steps),
            "the parameters have taken different numbers of steps"
        );
        self.adam.load_from(checkpoint, CheckpointLoad::StateAndParams).await?;
        (self.steps, self.losses_read) = (steps, steps);
        self.write_epoch_order();
        Ok(())
    }

    /// Submits the next training step: forward, backward and Adam in one encoder.
    ///
    /// Its loss waits on the GPU for [`Trainer::read_losses`]; once 16 epochs of them wait, a step is an error.
    pub fn step(&mut self) -> Result<()> {
        let unread = self.steps - self.losses_read;
        ensure!(unread < self.model.loss_slots() as u64, "{unread} losses are unread and there is no room for another");
        if self.steps.is_multiple_of(self.steps_per_epoch() as u64) {
            self.write_epoch_order();
        }
        let mut encoder = self.encoder("training step");
        self.model.record_training(&mut encoder, self.steps);
        self.adam.record_step(&mut encoder)?;
        self.queue.submit([encoder.finish()]);
        self.steps += 1;
        Ok(())
    }

    /// The losses of the steps since the last call, each from before its step's update.
    ///
    /// The call itself submits the copy; more steps may be submitted while the future is awaited.
    pub fn read_losses(&mut self) -> impl Future<Output = Result<Vec<f32>>> + use<> {
        let unread = self.losses_read..self.steps;
        self.losses_read = self.steps;
        submit_and_read(&self.device, &self.queue, self.encoder("read losses"), &self.model.losses(unread))
    }

    /// The share of the test digits that the model, as it is now, recognises.
    pub fn test_accuracy(&mut self) -> impl Future<Output = Result<f64>> + use<> {
        let mut encoder = self.encoder("test accuracy");
        let range = self.model.record_test(&mut encoder);
        let logits = submit_and_read(&self.device, &self.queue, encoder, &[range]);
        let labels = self.test_labels.clone();
        async move {
            let logits = logits.await?;
            let rows = logits.chunks_exact(CLASSES).zip(&labels);
            let correct = rows.filter(|(row, label)| argmax(row) == usize::from(**label)).count();
            Ok(correct as f64 / labels.len() as f64)
        }
    }

    /// The probability of each class for a digit of 8 by 8 pixels, 0 for paper and 1 for ink.
    pub fn predict(&mut self, pixels: &[f32; PIXELS]) -> impl Future<Output = Result<[f32; CLASSES]>> + use<> {
        let mut encoder = self.encoder("predict");
        let range = self.model.record_drawn(&self.queue, &mut encoder, pixels);
        let logits = submit_and_read(&self.device, &self.queue, encoder, &[range]);
        async move {
            let logits = logits.await?;
            let mut probabilities = [0.0; CLASSES];
            probabilities.copy_from_slice(&softmax(&logits));
            Ok(probabilities)
        }
    }

    /// The optimizer, for changing its hyperparameters between steps; everything is in group 0.
    pub fn adam(&mut self) -> &mut WgpuAdam {
        &mut self.adam
    }

    /// The parameters and their gradients.
    pub fn arena(&self) -> &TensorArena {
        &self.arena
    }

    /// Steps submitted so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Steps that visit the training set once.
    pub fn steps_per_epoch(&self) -> usize {
        self.model.steps_per_epoch()
    }

    /// The order of the epoch that the next step belongs to.
    fn write_epoch_order(&self) {
        let order = epoch_order(self.steps / self.steps_per_epoch() as u64, self.train_len);
        self.model.write_epoch_order(&self.queue, &order);
    }

    fn encoder(&self, label: &str) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(label) })
    }
}

/// The first index of the largest value, as torch's argmax for finite values.
fn argmax(values: &[f32]) -> usize {
    let mut best = 0;
    for (i, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = i;
        }
    }
    best
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f32> = logits.iter().map(|logit| (logit - largest).exp()).collect();
    let sum: f32 = exponentials.iter().sum();
    exponentials.iter().map(|exponential| exponential / sum).collect()
}
