//! The training loop, one step at a time.

use anyhow::{Context, Result, ensure};
use wgpu_adam::{AdamConfig, Checkpoint, TensorArena, TensorBuffer, WgpuAdam};

use crate::data::{CLASSES, Dataset, PIXELS};
use crate::model::{HIDDEN, Model, PARAMETERS};
use crate::readback::{FloatRange, Readback, submit_and_read};
use crate::report::{Report, Wanted};
use crate::rules::{epoch_order, uniform};
use crate::saved::{Saved, check_steps, steps_taken};

/// Trains the model with Adam. Each step is one submission, and no step waits for the GPU.
pub struct Trainer {
    device: wgpu::Device,
    queue: wgpu::Queue,
    arena: TensorArena,
    /// The places of the parameters, in the order of [`PARAMETERS`].
    places: Vec<TensorBuffer>,
    model: Model,
    adam: WgpuAdam,
    train_len: u32,
    test_labels: Vec<u8>,
    steps: u64,
    losses_read: u64,
}

impl Trainer {
    /// The limits that a device needs: below those of every WebGPU device.
    pub fn required_limits() -> wgpu::Limits {
        wgpu::Limits::downlevel_defaults().or_better_values_from(&WgpuAdam::required_limits())
    }

    /// A model with the initial weights of `digits_torch_run.py`, and Adam with `config` for all of its parameters.
    pub fn new(device: &wgpu::Device, queue: &wgpu::Queue, dataset: &Dataset, config: AdamConfig) -> Result<Self> {
        let arena = TensorArena::new(device, PARAMETERS)?;
        // The biases keep the zeros of a new buffer.
        arena.write_param(queue, "fc1.weight", &uniform(0, HIDDEN * PIXELS, 1.0 / (PIXELS as f64).sqrt()))?;
        arena.write_param(queue, "fc2.weight", &uniform(2, CLASSES * HIDDEN, 1.0 / (HIDDEN as f64).sqrt()))?;
        let places = PARAMETERS.iter().map(|(name, _)| arena.param_buffer(name)).collect::<Result<_, _>>()?;
        let model = Model::new(device, queue, &arena, dataset)?;
        let adam = WgpuAdam::new(device, queue, arena.params(), config)?;
        Ok(Self {
            device: device.clone(),
            queue: queue.clone(),
            arena,
            places,
            model,
            adam,
            train_len: dataset.train.len() as u32,
            test_labels: dataset.test.iter().map(|digit| digit.label).collect(),
            steps: 0,
            losses_read: 0,
        })
    }

    /// In a browser, waits until the device has created everything. Natively an error was returned earlier.
    pub async fn ready(&self) -> Result<()> {
        self.arena.ready().await?;
        Ok(self.adam.ready().await?)
    }

    /// Continues the run in a checkpoint, after `steps` training steps: parameters, Adam's state and options, and the
    /// position in the order of the batches. Adam has counted fewer steps if some were skipped.
    pub async fn resume(&mut self, checkpoint: &Checkpoint, steps: u64) -> Result<()> {
        check_steps(steps_taken(checkpoint)?, steps)?;
        self.adam.load_from(checkpoint).await?;
        (self.steps, self.losses_read) = (steps, steps);
        self.write_epoch_order();
        Ok(())
    }

    /// Submits the next training step: forward, backward and Adam in one encoder.
    ///
    /// The batch is cut into as many micro-batches as Adam's gradient control accumulates, at most
    /// [`BATCH`](crate::model::BATCH), and the loss is multiplied by Adam's loss scale.
    ///
    /// The loss stays on the GPU until [`Trainer::read`]. With 16 epochs of unread losses, a step is an error.
    pub fn step(&mut self) -> Result<()> {
        let unread = self.steps - self.losses_read;
        ensure!(unread < self.model.loss_slots() as u64, "{unread} losses are unread and there is no room for another");
        if self.steps.is_multiple_of(self.steps_per_epoch() as u64) {
            self.write_epoch_order();
        }
        let micro_batches = self.adam.gradient_control().accumulate;
        self.model.set_gradients(&self.device, &self.queue, micro_batches, self.adam.loss_scale_buffer())?;
        let mut encoder = self.encoder("training step");
        self.model.record_training(&mut encoder, self.steps);
        self.adam.record_step(&mut encoder)?;
        self.queue.submit([encoder.finish()]);
        self.steps += 1;
        Ok(())
    }

    /// Reads the losses of the steps since the last call, and everything `wanted`, in one readback.
    ///
    /// The call itself submits the copies, after all steps so far. More steps may be submitted while the future is
    /// awaited.
    pub fn read(&mut self, wanted: Wanted) -> impl Future<Output = Result<Report>> + use<> {
        let unread = self.losses_read..self.steps;
        self.losses_read = self.steps;
        let losses = (unread.end - unread.start) as usize;
        let mut encoder = self.encoder("report");
        let floats = losses + wanted.floats(self.test_labels.len());
        let mut readback = Readback::new(&self.device, floats as u64);
        for range in self.model.losses(unread) {
            readback.copy(&mut encoder, range);
        }
        if wanted.accuracy {
            let logits = self.model.record_test(&mut encoder);
            readback.copy(&mut encoder, logits);
        }
        if wanted.first_layer {
            readback.copy(&mut encoder, self.parameter(0));
        }
        if let Some(pixels) = &wanted.digit {
            let logits = self.model.record_drawn(&self.queue, &mut encoder, pixels);
            readback.copy(&mut encoder, logits);
        }
        let floats = readback.submit(&self.queue, encoder);
        let test_labels = self.test_labels.clone();
        async move { wanted.report(&floats.await?, losses, &test_labels) }
    }

    /// Copies the run after the steps so far: parameters, optimizer, and the number of steps.
    ///
    /// The call itself submits the copies. More steps may be submitted while the future is awaited.
    pub fn save(&mut self) -> impl Future<Output = Result<Saved>> + use<> {
        let steps = self.steps;
        let ranges: [FloatRange<'_>; PARAMETERS.len()] = std::array::from_fn(|number| self.parameter(number));
        let parameters = submit_and_read(&self.device, &self.queue, self.encoder("save"), &ranges);
        let lengths = ranges.map(|range| range.count as usize);
        let adam = self.adam.state_dict();
        async move {
            let floats = parameters.await?;
            let mut rest = floats.as_slice();
            let mut parameters = Vec::new();
            for length in lengths {
                let (tensor, behind) = rest.split_at_checked(length).context("a parameter was not read")?;
                parameters.push(tensor.to_vec());
                rest = behind;
            }
            Ok(Saved { steps, parameters, adam: adam.await? })
        }
    }

    /// Continues from `saved`, which may come from another device. Discards losses that were not read.
    pub async fn restore(&mut self, saved: &Saved) -> Result<()> {
        ensure!(saved.parameters.len() == PARAMETERS.len(), "{} parameters were saved", saved.parameters.len());
        self.adam.load_state_dict(&saved.adam).await?;
        for ((name, _), values) in PARAMETERS.iter().zip(&saved.parameters) {
            self.arena.write_param(&self.queue, name, values)?;
        }
        self.steps = saved.steps;
        self.losses_read = saved.steps;
        self.write_epoch_order();
        Ok(())
    }

    /// How many of the steps so far Adam has skipped, which are those that it has not counted. Copies its state as
    /// [`Trainer::save`] does.
    pub fn skipped(&self) -> impl Future<Output = Result<u64>> + use<> {
        let (steps, state) = (self.steps, self.adam.state_dict());
        async move {
            let taken = state.await?.state.values().map(|entry| entry.step).max();
            Ok(steps.saturating_sub(taken.unwrap_or(0)))
        }
    }

    /// The optimizer, for changing its hyperparameters and gradient control between steps; everything is in group 0.
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

    /// The number of steps that visit the training set once.
    pub fn steps_per_epoch(&self) -> usize {
        self.model.steps_per_epoch()
    }

    fn parameter(&self, number: usize) -> FloatRange<'_> {
        let (place, (_, shape)) = (&self.places[number], PARAMETERS[number]);
        let count = shape.iter().product::<usize>() as u64;
        FloatRange { buffer: place.buffer(), offset: place.offset(), count }
    }

    /// Writes the order of the next step's epoch.
    fn write_epoch_order(&self) {
        let order = epoch_order(self.steps / self.steps_per_epoch() as u64, self.train_len);
        self.model.write_epoch_order(&self.queue, &order);
    }

    fn encoder(&self, label: &str) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(label) })
    }
}
