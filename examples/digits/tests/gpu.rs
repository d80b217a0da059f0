//! The model on an adapter: the preferred one, or the one that matches `WGPU_ADAPTER_NAME`. Without an adapter these
//! tests fail.

#[allow(dead_code, reason = "the tests list no adapters")]
#[path = "../src/terminal/adapters.rs"]
mod adapters;
#[path = "../src/terminal/blocking.rs"]
mod blocking;
mod reference;

use blocking::wait;
use digits::data::{Dataset, Digit};
use digits::model::{BATCH, PARAMETERS};
use digits::readback::{FloatRange, submit_and_read};
use digits::rules::epoch_order;
use digits::{Curves, Saved, TorchRun, Trainer, Wanted};
use reference::Network;
use wgpu_adam::{AdamConfig, Checkpoint};

const GRADIENT_BOUND: f64 = 1e-5;
const LOSS_BOUND: f32 = 1e-5;
const ACCURACY: Wanted = Wanted { accuracy: true, first_layer: false, digit: None };

fn trainer(lr: f64) -> (wgpu::Device, wgpu::Queue, Trainer) {
    let wanted = std::env::var("WGPU_ADAPTER_NAME").ok();
    let adapter = adapters::choose(wanted.as_deref()).unwrap();
    let (device, queue) = adapters::open(&adapter).unwrap();
    let dataset = Dataset::embedded().unwrap();
    let trainer = Trainer::new(&device, &queue, &dataset, AdamConfig { lr, ..AdamConfig::default() }).unwrap();
    (device, queue, trainer)
}

#[test]
fn loss_and_gradients_of_the_first_batch_match_float64() {
    let (device, queue, mut trainer) = trainer(3e-3);
    trainer.step().unwrap();
    let loss = wait(&device, trainer.read(Wanted::default())).unwrap().losses[0];

    let train = Dataset::embedded().unwrap().train;
    let order = epoch_order(0, train.len() as u32);
    let batch: Vec<&Digit> = order[..BATCH].iter().map(|&row| &train[row as usize]).collect();
    let (expected_loss, expected) = Network::initial().loss_and_gradients(&batch);
    assert!((f64::from(loss) - expected_loss).abs() < 1e-6, "loss {loss}, not {expected_loss}");
    for ((name, shape), expected) in PARAMETERS.iter().zip(&expected.tensors) {
        let tensor = trainer.arena().grad_buffer(name).unwrap();
        let count = shape.iter().product::<usize>() as u64;
        let range = FloatRange { buffer: tensor.buffer(), offset: tensor.offset(), count };
        let encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let gradient = wait(&device, submit_and_read(&device, &queue, encoder, &[range])).unwrap();
        assert_eq!(gradient.len(), expected.len());
        // A sum that cancels has few correct digits, so errors are compared with the tensor's largest gradient.
        let scale = expected.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
        for (i, (gradient, expected)) in gradient.iter().zip(expected).enumerate() {
            let difference = (f64::from(*gradient) - expected).abs() / scale;
            assert!(difference < GRADIENT_BOUND, "{name}[{i}] {gradient}, not {expected}");
        }
    }
}

#[test]
fn two_epochs_follow_torch() {
    let torch = TorchRun::recorded().unwrap();
    let (device, _, mut trainer) = trainer(torch.lr);
    let mut losses = Vec::new();
    for epoch in 0..2 {
        for _ in 0..trainer.steps_per_epoch() {
            trainer.step().unwrap();
        }
        let report = wait(&device, trainer.read(ACCURACY)).unwrap();
        losses.extend(report.losses);
        let accuracy = report.accuracy.unwrap();
        assert!((accuracy - torch.test_accuracy_per_epoch[epoch]).abs() < 1.5 / 360.0, "{accuracy}");
    }
    assert_eq!(losses.len(), 46);
    for (step, (ours, torch)) in losses.iter().zip(&torch.loss_per_step).enumerate() {
        assert!((ours - torch).abs() < LOSS_BOUND, "step {step}: {ours}, not {torch}");
    }
}

#[test]
fn losses_are_kept_across_the_end_of_their_buffer_until_there_is_no_room() {
    let (device, _, mut trainer) = trainer(1e-3);
    let room = 16 * trainer.steps_per_epoch();
    for _ in 0..5 {
        trainer.step().unwrap();
    }
    let first = wait(&device, trainer.read(Wanted::default())).unwrap().losses;
    assert_eq!(first.len(), 5);
    for _ in 0..room {
        trainer.step().unwrap();
    }
    assert!(trainer.step().is_err());
    let losses = wait(&device, trainer.read(Wanted::default())).unwrap().losses;
    assert_eq!(losses.len(), room);
    assert!(losses[0] > 1.0 && losses[room - 1] < 0.5, "{} to {}", losses[0], losses[room - 1]);
    assert!(wait(&device, trainer.read(Wanted::default())).unwrap().losses.is_empty());
}

#[test]
fn a_digit_of_its_own_is_recognised_and_training_is_not_disturbed() {
    let torch = TorchRun::recorded().unwrap();
    let (device, _, mut trainer) = trainer(torch.lr);
    let test = Dataset::embedded().unwrap().test;
    let mut correct = 0;
    for _ in 0..8 * trainer.steps_per_epoch() {
        trainer.step().unwrap();
    }
    let mut losses = wait(&device, trainer.read(Wanted::default())).unwrap().losses;
    for digit in &test[..20] {
        let wanted = Wanted { digit: Some(digit.pixels), ..Wanted::default() };
        let probabilities = wait(&device, trainer.read(wanted)).unwrap().probabilities.unwrap();
        assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{probabilities:?}");
        correct += usize::from(probabilities[usize::from(digit.label)] > 0.5);
    }
    assert!(correct >= 16, "{correct} of 20");
    trainer.step().unwrap();
    losses.extend(wait(&device, trainer.read(Wanted::default())).unwrap().losses);
    let last = losses.len() - 1;
    assert!((losses[last] - torch.loss_per_step[last]).abs() < LOSS_BOUND);
}

#[test]
fn a_silly_learning_rate_ends_in_no_panic() {
    let (device, _, mut trainer) = trainer(1e30);
    for _ in 0..10 {
        trainer.step().unwrap();
    }
    let report = wait(&device, trainer.read(ACCURACY)).unwrap();
    assert_eq!(report.losses.len(), 10);
    assert!((0.0..=1.0).contains(&report.accuracy.unwrap()));
}

#[test]
fn everything_at_once_is_what_it_is_one_by_one() {
    let (device, _, mut trainer) = trainer(3e-3);
    let digit = Dataset::embedded().unwrap().test[3].pixels;
    let none = wait(&device, trainer.read(Wanted::default())).unwrap();
    assert!(none.losses.is_empty() && none.accuracy.is_none());
    assert!(none.first_layer.is_none() && none.probabilities.is_none());
    for _ in 0..30 {
        trainer.step().unwrap();
    }
    let all = Wanted { accuracy: true, first_layer: true, digit: Some(digit) };
    let all = wait(&device, trainer.read(all)).unwrap();
    assert_eq!(all.losses.len(), 30);
    let accuracy = wait(&device, trainer.read(ACCURACY)).unwrap().accuracy;
    assert_eq!(all.accuracy, accuracy);
    let wanted = Wanted { digit: Some(digit), ..Wanted::default() };
    assert_eq!(all.probabilities, wait(&device, trainer.read(wanted)).unwrap().probabilities);
    let saved = wait(&device, trainer.save()).unwrap();
    assert_eq!(all.first_layer.as_ref(), saved.parameters.first());
}

#[test]
fn a_saved_run_goes_on_elsewhere_with_the_same_bits() {
    // Before the first step, in the middle of an epoch, and at the end of one.
    for before in [0, 30, 46] {
        let (first_device, _, mut first) = trainer(3e-3);
        for _ in 0..before {
            first.step().unwrap();
        }
        // Saved before its losses are read. Steps submitted after the copy are not in it.
        let saving = first.save();
        for _ in 0..25 {
            first.step().unwrap();
        }
        let saved = wait(&first_device, saving).unwrap();
        assert_eq!(saved.steps, before);
        let expected = wait(&first_device, first.read(ACCURACY)).unwrap();

        let (device, _, mut second) = trainer(1.0);
        second.step().unwrap();
        wait(&device, second.restore(&saved)).unwrap();
        for _ in 0..25 {
            second.step().unwrap();
        }
        let report = wait(&device, second.read(ACCURACY)).unwrap();
        assert_eq!(report.losses, expected.losses[before as usize..], "after {before} steps");
        assert_eq!(report.accuracy, expected.accuracy);
        assert_eq!(wait(&first_device, first.save()).unwrap(), wait(&device, second.save()).unwrap());
    }
}

#[test]
fn a_run_on_the_host_makes_the_file_that_the_optimizer_writes() {
    let (device, _, mut trainer) = trainer(3e-3);
    for _ in 0..30 {
        trainer.step().unwrap();
    }
    let losses = wait(&device, trainer.read(Wanted::default())).unwrap().losses;
    let mut curves = Curves { losses, accuracies: vec![0.75] };
    let written = trainer.adam().checkpoint_bytes(&curves.contents().unwrap());
    let written = wait(&device, async { Ok(written.await?) }).unwrap();
    let saved = wait(&device, trainer.save()).unwrap();
    assert!(saved.to_checkpoint(&curves).unwrap() == written);

    let checkpoint = Checkpoint::from_bytes(written).unwrap();
    assert_eq!(Saved::of(&checkpoint).unwrap(), saved);
    assert_eq!(Curves::of(&checkpoint).unwrap(), curves);
    curves.losses.pop();
    assert!(saved.to_checkpoint(&curves).is_err());
}
