//! The same promises for steps under gradient control.

use wgpu_adam::{AdamConfig, GradientControl, LossScale, Param, ParamGroup, TensorArena, WgpuAdam, ZeroGrad, wgpu};
use wgpu_adam_suite::calls::{calls, recorded};

use super::{devices, only, storage};

/// Every control that decides something on the device, and some that decide nothing.
fn controls() -> [(&'static str, GradientControl); 6] {
    let clip = GradientControl { max_norm: Some(1.0), ..Default::default() };
    [
        ("max_norm", clip),
        ("skip_nonfinite", GradientControl { skip_nonfinite: true, ..Default::default() }),
        ("a dynamic scale", GradientControl { loss_scale: LossScale::dynamic(), zero_grad_after_step: true, ..clip }),
        (
            "a fixed scale",
            GradientControl { loss_scale: LossScale::Fixed(1024.0), accumulate: 4, ..Default::default() },
        ),
        ("clip_value", GradientControl { clip_value: Some(1.0), ..Default::default() }),
        ("zeroing", GradientControl { zero_grad_after_step: true, ..Default::default() }),
    ]
}

/// 40 tensors of an arena and a separate one, in two groups.
fn optimizer(device: &wgpu::Device, queue: &wgpu::Queue) -> (TensorArena, WgpuAdam) {
    let shapes = (0..40).map(|number| (number.to_string(), [number * 37 + 1]));
    let arena = TensorArena::new(device, shapes).unwrap();
    let own = (storage(device, 4096), storage(device, 4096));
    let groups = [
        ParamGroup::new(arena.params()),
        ParamGroup::new([Param::new("own", [1023], &own.0, &own.1)]).amsgrad(true).weight_decay(0.1),
    ];
    let adam = WgpuAdam::new(device, queue, groups, AdamConfig::default()).unwrap();
    (arena, adam)
}

fn encoder(device: &wgpu::Device) -> wgpu::CommandEncoder {
    device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
}

/// No submit, no poll, no map and no new object; one write. Holds whether statistics are read when they arrive or
/// never.
#[test]
fn steady_steps_under_control_write_once() {
    for (name, device, queue) in devices() {
        for ((what, control), read) in controls().into_iter().flat_map(|control| [(control, true), (control, false)]) {
            let (_arena, mut adam) = optimizer(&device, &queue);
            let found_inf = storage(&device, 4);
            adam.set_gradient_control(control).unwrap();
            if what == "max_norm" {
                adam.set_found_inf((&found_inf, 0)).unwrap();
            }
            for step in 1..=200 {
                let mut encoder = encoder(&device);
                let (counts, ()) = calls(|| {
                    adam.set_lr(0, 1e-3 / f64::from(step)).unwrap();
                    adam.record_zero_grad(&mut encoder, ZeroGrad::Fill).unwrap();
                    adam.record_step(&mut encoder).unwrap();
                    if read {
                        let _ = adam.latest_statistics();
                        let _ = adam.loss_scale_buffer();
                    }
                });
                if step >= 3 {
                    assert_eq!(counts, only(&[("write_buffer", 1)]), "{name}: {what}, step {step}, read: {read}");
                }
                let done = queue.submit([encoder.finish()]);
                device.poll(wgpu::PollType::Wait { submission_index: Some(done), timeout: None }).unwrap();
            }
        }
    }
}

/// Values that callers change during training create nothing either, once each has been used.
#[test]
fn the_same_control_again_makes_no_objects_but_a_plan() {
    for (name, device, queue) in devices() {
        let (_arena, mut adam) = optimizer(&device, &queue);
        let control = GradientControl { max_norm: Some(1.0), loss_scale: LossScale::dynamic(), ..Default::default() };
        adam.set_gradient_control(control).unwrap();
        adam.step().unwrap();
        let (counts, ()) = calls(|| {
            for round in 1..=10 {
                let max_norm = Some(1.0 / f64::from(round));
                adam.set_gradient_control(GradientControl { max_norm, ..control }).unwrap();
                let mut encoder = encoder(&device);
                adam.record_step(&mut encoder).unwrap();
                drop(encoder);
            }
        });
        for kind in ["create_compute_pipeline", "create_shader_module", "submit", "poll", "map_async"] {
            assert_eq!(counts.get(kind), None, "{name}: {kind}, {counts:?}");
        }
    }
}

/// A thousand steps whose statistics nobody reads, submitted without a poll: their buffers do not pile up.
#[test]
fn unread_statistics_pile_up_nowhere() {
    for (name, device, queue) in devices() {
        let (_arena, mut adam) = optimizer(&device, &queue);
        adam.set_gradient_control(controls()[0].1).unwrap();
        let (counts, ()) = calls(|| {
            for _ in 0..1000 {
                adam.step().unwrap();
            }
        });
        // Buffers of the plan, and slots for the steps in flight, doubled up to 1000.
        let made = counts.get("create_buffer").copied().unwrap_or(0);
        assert!(made <= 14, "{name}: {counts:?}");
        assert_eq!(counts.get("poll"), None, "{name}: polled");
        let (counts, _) = calls(|| adam.latest_statistics());
        assert_eq!(counts, only(&[]), "{name}: reading what is there");
    }
}

/// Gradient control that is off costs nothing. Calls and recorded commands are the same whether it was never on, set to
/// nothing, or turned off.
#[test]
fn no_control_is_no_cost() {
    let none = GradientControl::default();
    let clip = GradientControl { max_norm: Some(1.0), ..none };
    for (name, device, queue) in devices() {
        let run = |before: &[GradientControl]| {
            let (_arena, mut adam) = optimizer(&device, &queue);
            for &control in before {
                adam.set_gradient_control(control).unwrap();
                adam.step().unwrap();
            }
            adam.step().unwrap();
            let mut counts = None;
            let records = recorded(|| {
                for _ in 0..10 {
                    let mut encoder = encoder(&device);
                    let (counted, ()) = calls(|| adam.record_step(&mut encoder).unwrap());
                    counts = Some(counted);
                    queue.submit([encoder.finish()]);
                }
            });
            (counts, records, adam.dispatch_count())
        };
        let (counts, records, dispatches) = run(&[]);
        assert_eq!(records.len(), 10 * dispatches, "{name}: {records:?}");
        assert!(records.iter().all(|record| record.starts_with("ComputePass::dispatch [")), "{name}: {records:?}");
        let plain = (counts, records, dispatches);
        for before in [&[none][..], &[clip, none], &[GradientControl { zero_grad_after_step: true, ..clip }, none]] {
            assert_eq!(run(before), plain, "{name}: after {before:?}");
        }
    }
}

/// Additional commands of a step under control: as many dispatches that measure, one that decides, a copy for
/// statistics.
#[test]
fn control_records_what_it_says() {
    for (name, device, queue) in devices() {
        for (what, control) in controls() {
            let (_arena, mut adam) = optimizer(&device, &queue);
            adam.set_gradient_control(control).unwrap();
            adam.step().unwrap();
            let records = recorded(|| {
                let mut encoder = encoder(&device);
                adam.record_step(&mut encoder).unwrap();
                queue.submit([encoder.finish()]);
            });
            let count = |kind: &str| records.iter().filter(|record| record.starts_with(kind)).count();
            let decides = ["max_norm", "skip_nonfinite", "a dynamic scale"].contains(&what);
            let dispatches = if decides { 2 * adam.dispatch_count() + 1 } else { adam.dispatch_count() };
            let clears = count("CommandEncoder::clear_buffer");
            assert_eq!(count("ComputePass::dispatch"), dispatches, "{name}: {what}, {records:?}");
            assert_eq!(count("CommandEncoder::copy_buffer_to_buffer"), usize::from(decides), "{name}: {what}");
            assert_eq!(clears > 0, control.zero_grad_after_step, "{name}: {what}, {clears} clears");
            let all = dispatches + usize::from(decides) + clears;
            assert_eq!(records.len(), all, "{name}: {what}, {records:?}");
        }
    }
}

/// Counts of skipped steps that have outgrown their buffer are moved by the next step, and by no other once that is done.
#[test]
fn outgrown_counts_are_moved_once() {
    for (name, device, queue) in devices() {
        let arena = TensorArena::new(&device, (0..1024).map(|number| (number.to_string(), [1]))).unwrap();
        let mut adam = WgpuAdam::new(&device, &queue, arena.params(), AdamConfig::default()).unwrap();
        adam.set_gradient_control(GradientControl { skip_nonfinite: true, ..Default::default() }).unwrap();
        adam.step().unwrap();
        let late = Param::new("late", [1], &storage(&device, 4), &storage(&device, 4));
        adam.add_param_group(ParamGroup::new([late])).unwrap();
        for (step, moves) in [1, 0, 0].into_iter().enumerate() {
            let records = recorded(|| {
                let mut encoder = encoder(&device);
                adam.record_step(&mut encoder).unwrap();
                let done = queue.submit([encoder.finish()]);
                device.poll(wgpu::PollType::Wait { submission_index: Some(done), timeout: None }).unwrap();
            });
            let dispatches = records.iter().filter(|record| record.starts_with("ComputePass::dispatch")).count();
            assert_eq!(dispatches, 2 * adam.dispatch_count() + 1 + moves, "{name}: step {step}, {records:?}");
        }
    }
}
