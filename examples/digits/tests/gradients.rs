//! What happens to gradients between backward and Adam, in real training, on every adapter or on the one that
//! `WGPU_ADAPTER_NAME` describes: micro-batches, loss scales, steps that overflow.

#[path = "../src/terminal/adapters.rs"]
mod adapters;
#[path = "../src/terminal/blocking.rs"]
mod blocking;
mod reference;

use std::collections::BTreeSet;

use blocking::wait;
use digits::data::{Dataset, Digit};
use digits::model::{BATCH, PARAMETERS};
use digits::readback::{FloatRange, submit_and_read};
use digits::rules::epoch_order;
use digits::{Curves, Saved, TorchRun, Trainer, Wanted};
use reference::Network;
use wgpu_adam::{AdamConfig, Checkpoint, GradientControl, LossScale, TensorState};

const STEPS_PER_EPOCH: usize = 23;
const NONE: GradientControl = GradientControl {
    clip_norm: None,
    norm_type: wgpu_adam::NormType::Two,
    clip_value: None,
    skip_nonfinite: false,
    loss_scale: LossScale::None,
    accumulate: 1,
    zero_grad_after_step: false,
};

/// A device of an adapter, and its name.
struct Gpu {
    name: String,
    device: wgpu::Device,
    queue: wgpu::Queue,
}

/// Fails where there is none.
fn gpus() -> Vec<Gpu> {
    let adapters = match std::env::var("WGPU_ADAPTER_NAME") {
        Ok(wanted) => vec![adapters::choose(Some(&wanted)).unwrap()],
        Err(_) => adapters::all(),
    };
    assert!(!adapters.is_empty(), "no adapter");
    let open = |adapter: &wgpu::Adapter| {
        let (device, queue) = adapters::open(adapter).unwrap();
        Gpu { name: adapters::describe(&adapter.get_info()), device, queue }
    };
    adapters.iter().map(open).collect()
}

/// A run, with what it has shown.
struct Run<'a> {
    gpu: &'a Gpu,
    trainer: Trainer,
    losses: Vec<f32>,
}

impl<'a> Run<'a> {
    fn new(gpu: &'a Gpu, dataset: &Dataset, control: GradientControl) -> Self {
        let config = AdamConfig { lr: 3e-3, ..AdamConfig::default() };
        let mut trainer = Trainer::new(&gpu.device, &gpu.queue, dataset, config).unwrap();
        trainer.adam().set_gradient_control(control).unwrap();
        Self { gpu, trainer, losses: Vec::new() }
    }

    fn step(&mut self) {
        self.trainer.step().unwrap();
        if self.trainer.steps().is_multiple_of(STEPS_PER_EPOCH as u64) {
            self.read();
        }
    }

    fn read(&mut self) {
        self.losses.extend(wait(&self.gpu.device, self.trainer.read(Wanted::default())).unwrap().losses);
    }

    fn train(mut self, steps: usize) -> Self {
        (0..steps).for_each(|_| self.step());
        self.read();
        self
    }

    fn save(&mut self) -> Saved {
        wait(&self.gpu.device, self.trainer.save()).unwrap()
    }

    fn accuracy(&mut self) -> f64 {
        let wanted = Wanted { accuracy: true, ..Wanted::default() };
        wait(&self.gpu.device, self.trainer.read(wanted)).unwrap().accuracy.unwrap()
    }

    /// The gradients as the last step found them, tensor after tensor.
    fn gradients(&self) -> Vec<Vec<f32>> {
        let read = |(name, shape): &(&str, &[usize])| {
            let tensor = self.trainer.arena().grad_buffer(name).unwrap();
            let count = shape.iter().product::<usize>() as u64;
            let range = FloatRange { buffer: tensor.buffer(), offset: tensor.offset(), count };
            let encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            wait(&self.gpu.device, submit_and_read(&self.gpu.device, &self.gpu.queue, encoder, &[range])).unwrap()
        };
        PARAMETERS.iter().map(read).collect()
    }
}

/// Parameters and moments, bit for bit.
#[track_caller]
fn same_bits(case: &str, got: &Saved, want: &Saved) {
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    let tensors = got.parameters.iter().zip(&want.parameters);
    for ((name, _), (got, want)) in PARAMETERS.iter().zip(tensors) {
        assert!(bits(got) == bits(want), "{case}: {name} differs");
    }
    // A parameter whose steps were all skipped may have an entry, of zeros.
    let nothing = |entry: &TensorState| {
        entry.step == 0 && entry.exp_avg.iter().chain(&entry.exp_avg_sq).all(|moment| moment.to_bits() == 0)
    };
    let moments = |saved: &Saved| {
        let entries = saved.adam.state.iter().filter(|(_, entry)| !nothing(entry));
        entries.map(|(id, entry)| (*id, entry.step, bits(&entry.exp_avg), bits(&entry.exp_avg_sq))).collect::<Vec<_>>()
    };
    assert!(moments(got) == moments(want), "{case}: the optimizer's state differs");
}

/// The largest difference of two losses, infinite if any is none.
fn apart(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    let differences = left.iter().zip(right).map(|(left, right)| (left - right).abs());
    differences.fold(0.0, |most, difference| if difference.is_nan() { f32::INFINITY } else { difference.max(most) })
}

#[test]
fn gradients_of_micro_batches_sum_up_to_the_batch_in_float64() {
    let dataset = Dataset::embedded().unwrap();
    let order = epoch_order(0, dataset.train.len() as u32);
    for gpu in gpus() {
        let mut run = Run::new(&gpu, &dataset, NONE);
        let beginning = run.save();
        // A whole batch, and the last of an epoch, which has 29 digits.
        for step in [0, STEPS_PER_EPOCH - 1] {
            let rows = order.iter().skip(step * BATCH).take(BATCH);
            let batch: Vec<&Digit> = rows.map(|&row| &dataset.train[row as usize]).collect();
            let (expected_loss, expected) = Network::initial().loss_and_gradients(&batch);
            let norm = expected.tensors.iter().flatten().map(|value| value * value).sum::<f64>().sqrt();
            for (micro_batches, loss_scale) in
                [(1, 1.0), (2, 1.0), (3, 1000.0), (5, 0.001), (7, 1.0), (16, 65536.0), (29, 1.0), (30, 3.0), (64, 1.0)]
            {
                let case = format!("{}: {} digits in {micro_batches}, scale {loss_scale}", gpu.name, batch.len());
                let clip_norm = Some(norm / 2.0);
                let loss_scale = LossScale::Fixed(loss_scale);
                let control = GradientControl { clip_norm, loss_scale, accumulate: micro_batches, ..NONE };
                run.trainer.adam().set_gradient_control(control).unwrap();
                run.trainer.restore(&Saved { steps: step as u64, ..beginning.clone() }).unwrap();
                run.trainer.step().unwrap();
                let loss = wait(&gpu.device, run.trainer.read(Wanted::default())).unwrap().losses[0];
                assert!((f64::from(loss) - expected_loss).abs() < 1e-6, "{case}: loss {loss}, not {expected_loss}");
                let LossScale::Fixed(factor) = loss_scale else { unreachable!() };
                let factor = factor * f64::from(micro_batches);
                for (((name, _), gradients), expected) in PARAMETERS.iter().zip(run.gradients()).zip(&expected.tensors)
                {
                    let largest = expected.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
                    for (i, (gradient, expected)) in gradients.iter().zip(expected).enumerate() {
                        let gradient = f64::from(*gradient) / factor;
                        let off = (gradient - expected).abs() / largest;
                        assert!(off < 1e-5, "{case}: {name}[{i}] {gradient}, not {expected}");
                    }
                }
                // What the optimizer made of them has neither factor.
                let told = wait(&gpu.device, async { Ok(run.trainer.adam().statistics().await?) }).unwrap();
                assert!((f64::from(told.grad_norm) / norm - 1.0).abs() < 1e-5, "{case}: {told:?}, not {norm}");
                assert!((told.clip_factor - 0.5).abs() < 1e-5, "{case}: {told:?}");
            }
        }
    }
}

#[test]
fn too_many_micro_batches_are_an_error_before_anything_is_submitted() {
    let gpu = &gpus()[0];
    let mut run = Run::new(gpu, &Dataset::embedded().unwrap(), GradientControl { accumulate: 65, ..NONE });
    let error = run.trainer.step().unwrap_err().to_string();
    assert!(error.contains("64 digits") && error.contains("65"), "{error}");
    assert_eq!(run.trainer.steps(), 0);
    run.trainer.adam().set_gradient_control(GradientControl { accumulate: 64, ..NONE }).unwrap();
    run.trainer.step().unwrap();
}

/// Products with powers of two are exact, and micro-batches sum up in the order of the batch: as long as nothing is
/// denormal, a power of two that is undone leaves no trace.
#[test]
fn powers_of_two_leave_no_trace() {
    let steps = 2 * STEPS_PER_EPOCH + 5;
    let dataset = Dataset::embedded().unwrap();
    let torch = TorchRun::recorded().unwrap();
    let scaled = |loss_scale| GradientControl { loss_scale, ..NONE };
    let cut = |accumulate| GradientControl { accumulate, ..NONE };
    for gpu in gpus() {
        let mut plain = Run::new(&gpu, &dataset, NONE).train(steps);
        let want = plain.save();
        let off = apart(&plain.losses, &torch.loss_per_step[..steps]);
        assert!(off < 1e-6, "{}: {off:e} off torch", gpu.name);
        for (name, control) in [
            ("scale 1024", scaled(LossScale::Fixed(1024.0))),
            ("scale 2^-10", scaled(LossScale::Fixed(1.0 / 1024.0))),
            ("2 micro-batches", cut(2)),
            ("32 micro-batches", cut(32)),
            ("both", GradientControl { accumulate: 8, ..scaled(LossScale::Fixed(65536.0)) }),
        ] {
            let case = format!("{}: {name}", gpu.name);
            let mut run = Run::new(&gpu, &dataset, control).train(steps);
            assert_eq!(run.losses, plain.losses, "{case}");
            same_bits(&case, &run.save(), &want);
        }

        // Where steps may be skipped, biases are corrected on the device, within 1 ULP of the host: a run of its own.
        let mut skipping = Run::new(&gpu, &dataset, GradientControl { skip_nonfinite: true, ..NONE }).train(steps);
        let case = format!("{}: dynamic", gpu.name);
        let mut dynamic = Run::new(&gpu, &dataset, scaled(LossScale::dynamic())).train(steps);
        assert_eq!(dynamic.losses, skipping.losses, "{case}");
        same_bits(&case, &dynamic.save(), &skipping.save());
        let off = apart(&dynamic.losses, &plain.losses);
        assert!(off < 1e-6, "{case}: {off:e} off the plain run");

        // Other numbers round.
        for (name, control) in [
            ("3 micro-batches", cut(3)),
            ("29 micro-batches", cut(29)),
            ("scale 1000", scaled(LossScale::Fixed(1000.0))),
            ("scale 0.3, 7 micro-batches", GradientControl { accumulate: 7, ..scaled(LossScale::Fixed(0.3)) }),
        ] {
            let run = Run::new(&gpu, &dataset, control).train(steps);
            let off = apart(&run.losses, &plain.losses);
            assert!(off < 2e-6, "{}: {name}: {off:e} off the plain run", gpu.name);
        }
    }
}

/// A digit that spoils its batch in every epoch.
struct Poison {
    row: usize,
    pixel: f32,
}

impl Poison {
    fn spoil(&self, dataset: &Dataset) -> Dataset {
        let mut spoiled = dataset.clone();
        spoiled.train[self.row].pixels[27] = self.pixel;
        spoiled
    }

    /// The steps that it spoils.
    fn steps(&self, epochs: u64, train_len: usize) -> BTreeSet<u64> {
        let step = |epoch| {
            let order = epoch_order(epoch, train_len as u32);
            let position = order.iter().position(|&row| row as usize == self.row).unwrap();
            epoch * STEPS_PER_EPOCH as u64 + (position / BATCH) as u64
        };
        (0..epochs).map(step).collect()
    }
}

/// A checkpoint of a run of which steps were skipped, before the first was taken and later: Adam has counted fewer than the
/// data have gone by, and the resumed run's place is theirs.
#[test]
fn a_run_that_skipped_steps_is_resumed_where_it_was() {
    let dataset = Dataset::embedded().unwrap();
    let control = GradientControl { loss_scale: LossScale::dynamic(), ..NONE };
    let steps = STEPS_PER_EPOCH + 10;
    for gpu in gpus() {
        for (spoiled, saved) in [(0, 1), (0, 9), (12, 13), (12, 30)] {
            let case = format!("{}: step {spoiled} is spoiled, {saved} are saved", gpu.name);
            let row = epoch_order(0, dataset.train.len() as u32)[spoiled * BATCH + 7] as usize;
            let spoiled = Poison { row, pixel: f32::NAN }.spoil(&dataset);
            let mut run = Run::new(&gpu, &spoiled, control).train(saved);
            let curves = Curves { losses: run.losses.clone(), ..Curves::default() };
            let contents = curves.contents().unwrap();
            let bytes = run.trainer.adam().checkpoint_bytes(&contents);
            let bytes = wait(&gpu.device, async { Ok(bytes.await?) }).unwrap();
            let mut run = run.train(steps - saved);

            let checkpoint = Checkpoint::from_bytes(bytes).unwrap();
            let curves = Curves::of(&checkpoint).unwrap();
            assert_eq!(curves.steps(), saved as u64, "{case}");
            let mut resumed = Run::new(&gpu, &spoiled, control);
            wait(&gpu.device, resumed.trainer.resume(&checkpoint, curves.steps())).unwrap();
            resumed.losses = curves.losses;
            let mut resumed = resumed.train(steps - saved);
            same_bits(&case, &resumed.save(), &run.save());
            let bits = |losses: &[f32]| losses.iter().map(|loss| loss.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&resumed.losses), bits(&run.losses), "{case}");
            let skipped = wait(&gpu.device, run.trainer.skipped()).unwrap();
            assert!(skipped == 1 || skipped == 2, "{case}: {skipped} skipped");
            assert_eq!(wait(&gpu.device, resumed.trainer.skipped()).unwrap(), skipped, "{case}");
        }
    }
}

/// Six epochs with overflows: in the first step, because the scale is too large for it, and wherever a digit of infinite
/// ink comes by. Those steps change nothing at all; the run equals one that leaves them out, bit for bit; and it learns what
/// torch's undisturbed run has learned by then.
#[test]
fn training_recovers_from_overflows() {
    const EPOCHS: u64 = 6;
    let dataset = Dataset::embedded().unwrap();
    let torch = TorchRun::recorded().unwrap();
    let middle = epoch_order(0, dataset.train.len() as u32)[11 * BATCH + 5] as usize;
    let too_large = LossScale::Dynamic {
        init: 2f64.powi(127),
        growth_factor: 2.0,
        // From where overflows begin to where the reciprocal of the scale is no denormal.
        backoff_factor: 2f64.powi(-8),
        growth_interval: 2000,
    };
    for gpu in gpus() {
        for (name, loss_scale, accumulate, pixel, at_first) in [
            ("torch's defaults", LossScale::dynamic(), 1, f32::NAN, false),
            ("too large a scale", too_large, 32, f32::INFINITY, true),
        ] {
            let case = format!("{}: {name}", gpu.name);
            let LossScale::Dynamic { init, backoff_factor, .. } = loss_scale else { unreachable!() };
            let control = GradientControl { loss_scale, accumulate, ..NONE };
            let poison = Poison { row: middle, pixel };
            let spoiled = poison.steps(EPOCHS, dataset.train.len());
            let mut skipped = spoiled.clone();
            if at_first {
                assert!(skipped.insert(0));
            }
            let mut run = Run::new(&gpu, &poison.spoil(&dataset), control);
            let mut partner = Run::new(&gpu, &dataset, control);
            for step in 0..EPOCHS * STEPS_PER_EPOCH as u64 {
                let before = skipped.contains(&step).then(|| run.save());
                run.step();
                if let Some(before) = before {
                    same_bits(&format!("{case}: step {step}"), &run.save(), &before);
                }
                if spoiled.contains(&step) {
                    partner.read();
                    partner.losses.push(f32::NAN);
                    let here = partner.save();
                    partner.trainer.restore(&Saved { steps: step + 1, ..here }).unwrap();
                } else {
                    partner.step();
                }
            }
            same_bits(&format!("{case}: the end"), &run.save(), &partner.save());
            let told = wait(&gpu.device, async { Ok(run.trainer.adam().statistics().await?) }).unwrap();
            assert_eq!(told.steps_skipped, skipped.len() as u64, "{case}: {told:?}");
            assert_eq!(wait(&gpu.device, run.trainer.skipped()).unwrap(), told.steps_skipped, "{case}");
            let scale = init * backoff_factor.powi(skipped.len() as i32);
            assert_eq!(f64::from(told.loss_scale), scale, "{case}");

            // What the spoiled batches cost is anybody's guess.
            let clean = |losses: &[f32], from: u64| {
                let steps = (0..).zip(losses).filter(|(step, _)| *step >= from && !spoiled.contains(step));
                steps.map(|(_, loss)| *loss).collect::<Vec<f32>>()
            };
            assert_eq!(clean(&run.losses, 0), clean(&partner.losses, 0), "{case}");
            let last_epoch = (EPOCHS - 1) * STEPS_PER_EPOCH as u64;
            let mean = |losses: Vec<f32>| losses.iter().sum::<f32>() / losses.len() as f32;
            let torch_losses = &torch.loss_per_step[..run.losses.len()];
            let (loss, torch_loss) = (mean(clean(&run.losses, last_epoch)), mean(clean(torch_losses, last_epoch)));
            let (accuracy, torch_accuracy) = (run.accuracy(), torch.test_accuracy_per_epoch[EPOCHS as usize - 1]);
            println!("{case}: {loss} and {accuracy}, torch's {torch_loss} and {torch_accuracy}");
            assert!((loss / torch_loss - 1.0).abs() < 0.1, "{case}: loss {loss}, torch's {torch_loss}");
            assert!((accuracy - torch_accuracy).abs() < 0.02, "{case}: {accuracy}, torch's {torch_accuracy}");
        }
    }
}
