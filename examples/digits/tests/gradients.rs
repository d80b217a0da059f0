//! Micro-batches and loss scales change no more than rounding, on every adapter.

mod reference;
mod rig;

use digits::TorchRun;
use digits::data::{Dataset, Digit};
use digits::model::{BATCH, PARAMETERS};
use digits::readback::{FloatRange, submit_and_read};
use digits::rules::epoch_order;
use digits::{Saved, Wanted};
use reference::Network;
use rig::{Run, STEPS_PER_EPOCH, gpus, same_bits, wait};
use wgpu_adam::{GradientControl, LossScale};

/// The gradients of the last step, tensor by tensor.
fn gradients(run: &Run<'_>) -> Vec<Vec<f32>> {
    let read = |(name, shape): &(&str, &[usize])| {
        let tensor = run.trainer.arena().grad_buffer(name).unwrap();
        let count = shape.iter().product::<usize>() as u64;
        let range = FloatRange { buffer: tensor.buffer(), offset: tensor.offset(), count };
        let encoder = run.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        wait(&run.gpu.device, submit_and_read(&run.gpu.device, &run.gpu.queue, encoder, &[range])).unwrap()
    };
    PARAMETERS.iter().map(read).collect()
}

/// The largest difference of two losses; infinite if any is not a number.
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
        let mut run = Run::new(&gpu, &dataset, GradientControl::default());
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
                let max_norm = Some(norm / 2.0);
                let loss_scale = LossScale::Fixed(loss_scale);
                let control = GradientControl { max_norm, loss_scale, accumulate: micro_batches, ..Default::default() };
                run.trainer.adam().set_gradient_control(control).unwrap();
                let saved = Saved { steps: step as u64, ..beginning.clone() };
                wait(&gpu.device, run.trainer.restore(&saved)).unwrap();
                run.trainer.step().unwrap();
                let loss = wait(&gpu.device, run.trainer.read(Wanted::default())).unwrap().losses[0];
                assert!((f64::from(loss) - expected_loss).abs() < 1e-6, "{case}: loss {loss}, not {expected_loss}");
                let LossScale::Fixed(factor) = loss_scale else { unreachable!() };
                let factor = factor * f64::from(micro_batches);
                for (((name, _), gradients), expected) in PARAMETERS.iter().zip(gradients(&run)).zip(&expected.tensors)
                {
                    let largest = expected.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
                    for (i, (gradient, expected)) in gradients.iter().zip(expected).enumerate() {
                        let gradient = f64::from(*gradient) / factor;
                        let off = (gradient - expected).abs() / largest;
                        assert!(off < 1e-5, "{case}: {name}[{i}] {gradient}, not {expected}");
                    }
                }
                // The optimizer removes both factors.
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
    let mut run =
        Run::new(gpu, &Dataset::embedded().unwrap(), GradientControl { accumulate: 65, ..Default::default() });
    let error = run.trainer.step().unwrap_err().to_string();
    assert!(error.contains("64 digits") && error.contains("65"), "{error}");
    assert_eq!(run.trainer.steps(), 0);
    run.trainer.adam().set_gradient_control(GradientControl { accumulate: 64, ..Default::default() }).unwrap();
    run.trainer.step().unwrap();
}

/// Products with powers of two are exact, and micro-batches are summed in the order of the batch. So, if nothing is
/// denormal, a power of two that is divided out again leaves no trace.
#[test]
fn powers_of_two_leave_no_trace() {
    let steps = 2 * STEPS_PER_EPOCH + 5;
    let dataset = Dataset::embedded().unwrap();
    let torch = TorchRun::recorded().unwrap();
    let scaled = |loss_scale| GradientControl { loss_scale, ..Default::default() };
    let cut = |accumulate| GradientControl { accumulate, ..Default::default() };
    for gpu in gpus() {
        let mut plain = Run::new(&gpu, &dataset, GradientControl::default()).train(steps);
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

        // If steps may be skipped, the device computes the bias corrections, within 1 ULP of the host's. So the
        // reference is another run that may skip steps.
        let mut skipping =
            Run::new(&gpu, &dataset, GradientControl { skip_nonfinite: true, ..Default::default() }).train(steps);
        let case = format!("{}: dynamic", gpu.name);
        let mut dynamic = Run::new(&gpu, &dataset, scaled(LossScale::dynamic())).train(steps);
        assert_eq!(dynamic.losses, skipping.losses, "{case}");
        same_bits(&case, &dynamic.save(), &skipping.save());
        let off = apart(&dynamic.losses, &plain.losses);
        assert!(off < 1e-6, "{case}: {off:e} from the plain run");

        // Other numbers round.
        for (name, control) in [
            ("3 micro-batches", cut(3)),
            ("29 micro-batches", cut(29)),
            ("scale 1000", scaled(LossScale::Fixed(1000.0))),
            ("scale 0.3, 7 micro-batches", GradientControl { accumulate: 7, ..scaled(LossScale::Fixed(0.3)) }),
        ] {
            let run = Run::new(&gpu, &dataset, control).train(steps);
            let off = apart(&run.losses, &plain.losses);
            assert!(off < 2e-6, "{}: {name}: {off:e} from the plain run", gpu.name);
        }
    }
}
