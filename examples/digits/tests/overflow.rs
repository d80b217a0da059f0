//! Steps of real training that overflow, on every adapter: they are skipped and leave no trace.

mod rig;

use std::collections::BTreeSet;

use digits::model::BATCH;
use digits::rules::epoch_order;
use digits::{Curves, Dataset, Saved, TorchRun};
use rig::{Run, STEPS_PER_EPOCH, gpus, same_bits, wait};
use wgpu_adam::{Checkpoint, GradientControl, LossScale};

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

    /// The steps that contain this digit.
    fn steps(&self, epochs: u64, train_len: usize) -> BTreeSet<u64> {
        let step = |epoch| {
            let order = epoch_order(epoch, train_len as u32);
            let position = order.iter().position(|&row| row as usize == self.row).unwrap();
            epoch * STEPS_PER_EPOCH as u64 + (position / BATCH) as u64
        };
        (0..epochs).map(step).collect()
    }
}

/// A checkpoint of a run with skipped steps, before the first taken step and later. Adam has counted fewer steps than
/// the data's position, and the resumed run continues from the data's position.
#[test]
fn a_run_that_skipped_steps_is_resumed_where_it_was() {
    let dataset = Dataset::embedded().unwrap();
    // Grows every few steps, because it backs off.
    let LossScale::Dynamic { init_scale: init, growth_factor, backoff_factor, .. } = LossScale::dynamic() else {
        unreachable!()
    };
    let loss_scale = LossScale::Dynamic { init_scale: init, growth_factor, backoff_factor, growth_interval: 7 };
    let control = GradientControl { loss_scale, ..Default::default() };
    let steps = STEPS_PER_EPOCH + 10;
    for gpu in gpus() {
        for (spoiled, saved) in [(0, 1), (0, 9), (12, 13), (12, 20)] {
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
            let taken = saved as u64 - 1;
            if taken > 0 {
                let fewer = wait(&gpu.device, resumed.trainer.resume(&checkpoint, taken - 1));
                assert!(fewer.is_err(), "{case}: more steps were taken than the run had");
            }
            wait(&gpu.device, resumed.trainer.resume(&checkpoint, curves.steps())).unwrap();
            resumed.losses = curves.losses;
            let mut resumed = resumed.train(steps - saved);
            same_bits(&case, &resumed.save(), &run.save());
            let bits = |losses: &[f32]| losses.iter().map(|loss| loss.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&resumed.losses), bits(&run.losses), "{case}");
            let skipped = wait(&gpu.device, run.trainer.skipped()).unwrap();
            assert!(skipped == 1 || skipped == 2, "{case}: {skipped} skipped");
            assert_eq!(wait(&gpu.device, resumed.trainer.skipped()).unwrap(), skipped, "{case}");
            let [resumed, run] = [&mut resumed, &mut run].map(|run| {
                let told = wait(&gpu.device, async { Ok(run.trainer.adam().statistics().await?) }).unwrap();
                (told.loss_scale, told.growth_tracker)
            });
            assert_eq!(resumed, run, "{case}: the loss scale and its growth tracker");
        }
    }
}

/// Six epochs with overflows: in the first step, because the loaded scale is too large, and whenever a digit with
/// infinite ink appears. These steps change nothing. The run equals a run without them bit for bit, and it learns as
/// much as torch's undisturbed run.
#[test]
fn training_recovers_from_overflows() {
    const EPOCHS: u64 = 6;
    let dataset = Dataset::embedded().unwrap();
    let torch = TorchRun::recorded().unwrap();
    let middle = epoch_order(0, dataset.train.len() as u32)[11 * BATCH + 5] as usize;
    let far_back = LossScale::Dynamic {
        init_scale: 65536.0,
        growth_factor: 2.0,
        // From a scale that overflows down to one whose reciprocal is not denormal.
        backoff_factor: 2f64.powi(-8),
        growth_interval: 2000,
    };
    for gpu in gpus() {
        for (name, loss_scale, accumulate, pixel, loaded) in [
            ("torch's defaults", LossScale::dynamic(), 1, f32::NAN, None),
            ("too large a scale", far_back, 32, f32::INFINITY, Some(2f64.powi(127))),
        ] {
            let case = format!("{}: {name}", gpu.name);
            let LossScale::Dynamic { init_scale: init, backoff_factor, .. } = loss_scale else { unreachable!() };
            let control = GradientControl { loss_scale, accumulate, ..Default::default() };
            let poison = Poison { row: middle, pixel };
            let spoiled = poison.steps(EPOCHS, dataset.train.len());
            let mut skipped = spoiled.clone();
            let begin = |dataset: &Dataset| {
                let mut run = Run::new(&gpu, dataset, control);
                if let Some(scale) = loaded {
                    let mut saved = run.save();
                    saved.adam.grad_scaler.as_mut().unwrap().scale = scale;
                    wait(&gpu.device, run.trainer.restore(&saved)).unwrap();
                }
                run
            };
            if loaded.is_some() {
                assert!(skipped.insert(0));
            }
            let mut run = begin(&poison.spoil(&dataset));
            let mut partner = begin(&dataset);
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
                    let here = Saved { steps: step + 1, ..here };
                    wait(&gpu.device, partner.trainer.restore(&here)).unwrap();
                } else {
                    partner.step();
                }
            }
            same_bits(&format!("{case}: the end"), &run.save(), &partner.save());
            let told = wait(&gpu.device, async { Ok(run.trainer.adam().statistics().await?) }).unwrap();
            assert_eq!(told.steps_skipped, skipped.len() as u64, "{case}: {told:?}");
            assert_eq!(wait(&gpu.device, run.trainer.skipped()).unwrap(), told.steps_skipped, "{case}");
            let scale = loaded.unwrap_or(init) * backoff_factor.powi(skipped.len() as i32);
            assert_eq!(f64::from(told.loss_scale), scale, "{case}");

            // The losses of the spoiled batches say nothing, so they are left out.
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
