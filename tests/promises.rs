//! Promises about calls that the optimizer does not make, counted in wgpu-core's own log, on the noop device and on
//! every native adapter. A test first makes each kind of call by hand, to prove that it is counted.

#[path = "promises/control.rs"]
mod control;

use pollster::block_on;
use wgpu_adam::{AdamConfig, Param, ParamGroup, TensorArena, WgpuAdam, ZeroGrad, wgpu};
use wgpu_adam_suite::Gpu;
use wgpu_adam_suite::adapter::adapters;
use wgpu_adam_suite::calls::{COUNTED, Counts, calls};

fn only(expected: &[(&'static str, u32)]) -> Counts {
    expected.iter().copied().collect()
}

/// The noop device and every adapter of the machine.
fn devices() -> Vec<(String, wgpu::Device, wgpu::Queue)> {
    let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
    let mut all = vec![("noop".to_owned(), device, queue)];
    for adapter in block_on(adapters()) {
        let gpu = block_on(Gpu::default_limits(&adapter)).unwrap();
        all.push((gpu.adapter_name, gpu.device, gpu.queue));
    }
    assert!(all.len() > 1, "no adapter: install one, as the README says");
    all
}

fn storage(device: &wgpu::Device, size: u64) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size,
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
        mapped_at_creation: false,
    })
}

#[test]
fn every_kind_of_call_is_counted() {
    for (name, device, queue) in devices() {
        let (counts, ()) = calls(|| {
            let layout =
                device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &[] });
            let _ = device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &[] });
            let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor::default());
            let source = wgpu::ShaderSource::Wgsl("@compute @workgroup_size(1) fn main() {}".into());
            let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source });
            let _ = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: None,
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: None,
                compilation_options: wgpu::PipelineCompilationOptions::default(),
                cache: None,
            });
            let mapped = device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: 16,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            queue.write_buffer(&mapped, 0, &[0; 16]);
            let encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            queue.submit([encoder.finish()]);
            mapped.map_async(wgpu::MapMode::Read, .., |_| {});
            device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        });
        for (_, kind) in COUNTED {
            assert!(
                counts.get(kind).is_some_and(|count| *count > 0),
                "{name}: {kind} was called but not counted: {counts:?}"
            );
        }
    }
}

#[test]
fn steady_steps_write_once_and_do_nothing_else() {
    for (name, device, queue) in devices() {
        let shapes = (0..40).map(|number| (number.to_string(), [number * 37 + 1]));
        let arena = TensorArena::new(&device, shapes).unwrap();
        let own = (storage(&device, 4096), storage(&device, 4096));
        let groups = [
            ParamGroup::new(arena.params()),
            ParamGroup::new([Param::new("own", [1023], &own.0, &own.1)]).amsgrad(true).weight_decay(0.1),
        ];
        let mut adam = WgpuAdam::new(&device, &queue, groups, AdamConfig::default()).unwrap();
        for step in 1..=1000 {
            let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            let (counts, ()) = calls(|| {
                adam.set_lr(0, 1e-3 / f64::from(step)).unwrap();
                adam.record_zero_grad(&mut encoder, ZeroGrad::Fill).unwrap();
                adam.record_step(&mut encoder).unwrap();
            });
            if step >= 3 {
                assert_eq!(counts, only(&[("write_buffer", 1)]), "{name}: step {step}");
            }
            let done = queue.submit([encoder.finish()]);
            device.poll(wgpu::PollType::Wait { submission_index: Some(done), timeout: None }).unwrap();
        }
    }
}

/// Groups with equal options are stepped as one. Setting their rates keeps the plan while they stay equal; the first
/// step with different rates makes a new plan.
#[test]
fn groups_alike_plan_once_more_when_they_differ() {
    for (name, device, queue) in devices() {
        let arena = TensorArena::new(&device, [("a", [1 << 18]), ("b", [1 << 18])]).unwrap();
        let groups = arena.params().into_iter().map(|param| ParamGroup::new([param])).collect::<Vec<_>>();
        let mut adam = WgpuAdam::new(&device, &queue, groups, AdamConfig::default()).unwrap();
        let mut step = |lrs: [f64; 2]| {
            let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            let (counts, ()) = calls(|| {
                for (group, lr) in lrs.into_iter().enumerate() {
                    adam.set_lr(group, lr).unwrap();
                }
                adam.record_step(&mut encoder).unwrap();
            });
            let done = queue.submit([encoder.finish()]);
            device.poll(wgpu::PollType::Wait { submission_index: Some(done), timeout: None }).unwrap();
            (counts, adam.dispatch_count())
        };
        let once = only(&[("write_buffer", 1)]);
        for lr in [0.1, 0.2, 0.3] {
            assert_eq!(step([lr, lr]), (once.clone(), 1), "{name}: equal, {lr}");
        }
        let (counts, dispatches) = step([0.1, 0.2]);
        assert!(counts.contains_key("create_buffer") && dispatches == 2, "{name}: {dispatches}, {counts:?}");
        for lr in [0.3, 0.4] {
            assert_eq!(step([lr, 0.5]), (once.clone(), 2), "{name}: different, {lr}");
        }
    }
}

/// torch's usual loop: gradients are set to none after each step, and set to the same buffers before the next.
#[test]
fn giving_the_same_gradients_back_plans_nothing() {
    for (name, device, queue) in devices() {
        let arena = TensorArena::new(&device, [("a", [100]), ("b", [200])]).unwrap();
        let mut adam = WgpuAdam::new(&device, &queue, arena.params(), AdamConfig::default()).unwrap();
        adam.step().unwrap();
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let (counts, ()) = calls(|| {
            adam.record_zero_grad(&mut encoder, ZeroGrad::SetToNone).unwrap();
            for tensor in ["a", "b"] {
                adam.set_grad(adam.find(tensor).unwrap(), arena.grad_buffer(tensor).unwrap()).unwrap();
            }
            adam.record_step(&mut encoder).unwrap();
        });
        assert_eq!(counts, only(&[("write_buffer", 1)]), "{name}");
        queue.submit([encoder.finish()]);
    }
}

/// Slots are returned, by submitted encoders and by dropped ones. Buffers are created only for steps in flight.
#[test]
fn slots_are_bounded_by_what_is_in_flight() {
    for (name, device, queue) in devices() {
        let arena = TensorArena::new(&device, [("a", [100])]).unwrap();
        let mut adam = WgpuAdam::new(&device, &queue, arena.params(), AdamConfig::default()).unwrap();
        let encoder = || device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let (counts, ()) = calls(|| {
            for number in 0..1000 {
                let mut encoder = encoder();
                adam.record_step(&mut encoder).unwrap();
                // Dropped as an encoder, or as a command buffer.
                if number % 2 == 0 { drop(encoder) } else { drop(encoder.finish()) }
            }
        });
        assert_eq!(counts.get("create_buffer"), None, "{name}: after dropped encoders, {counts:?}");

        let mut all = Vec::new();
        let (counts, ()) = calls(|| {
            for _ in 0..100 {
                let mut encoder = encoder();
                adam.record_step(&mut encoder).unwrap();
                all.push(encoder.finish());
            }
        });
        // 8 slots, doubled four times: 128 slots hold 100 steps.
        assert_eq!(counts.get("create_buffer"), Some(&4), "{name}: 100 steps before one submit");
        let done = queue.submit(all);
        device.poll(wgpu::PollType::Wait { submission_index: Some(done), timeout: None }).unwrap();
        let (counts, ()) = calls(|| {
            for _ in 0..100 {
                let mut encoder = encoder();
                adam.record_step(&mut encoder).unwrap();
                drop(encoder);
            }
        });
        assert_eq!(counts.get("create_buffer"), None, "{name}: slots that are no longer in flight");

        let (counts, ()) = calls(|| {
            for _ in 0..3000 {
                adam.step().unwrap();
            }
        });
        // Up to 3000 steps were in flight. Doubling the slots reaches that with six more buffers.
        assert!(
            counts.get("create_buffer").copied().unwrap_or(0) <= 6,
            "{name}: 3000 steps without a poll, {counts:?}"
        );
        assert_eq!(counts.get("poll"), None, "{name}: polled");
    }
}

/// A step submits once. Apart from state_dict, nothing else in the library submits, polls or maps.
#[test]
fn only_step_submits() {
    for (name, device, queue) in devices() {
        let (counts, mut adam) = calls(|| {
            let arena = TensorArena::new(&device, [("a", [100])]).unwrap();
            arena.write_param(&queue, "a", &[1.0; 100]).unwrap();
            let mut adam = WgpuAdam::new(&device, &queue, arena.params(), AdamConfig::default()).unwrap();
            let other = storage(&device, 400);
            adam.add_param_group(ParamGroup::new([Param::without_grad("b", [100], &other)])).unwrap();
            adam.set_amsgrad(1, true).unwrap();
            adam.set_decoupled_weight_decay(0, true).unwrap();
            block_on(adam.ready()).unwrap();
            adam
        });
        for kind in ["submit", "poll", "map_async", "create_command_encoder"] {
            assert_eq!(counts.get(kind), None, "{name}: {kind} in construction");
        }
        let (counts, _) = calls(|| adam.step().unwrap());
        assert_eq!(counts.get("submit"), Some(&1), "{name}: {counts:?}");
    }
    let submits = |file: &std::path::Path| {
        let text = std::fs::read_to_string(file).unwrap();
        text.lines().filter(|line| line.contains(".submit(") && !line.trim_start().starts_with("//")).count()
    };
    let files = source_files("src".as_ref());
    assert!(files.len() > 20, "the sources are not where they were: {files:?}");
    let with: Vec<_> = files.iter().filter(|file| submits(file) > 0).collect();
    let allowed =
        ["src/optimizer/loading.rs", "src/optimizer/step.rs", "src/transfer/readback.rs", "src/transfer/upload.rs"]
            .map(std::path::Path::new);
    assert_eq!(with, allowed, "submits outside of step, saving and loading");
}

fn source_files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files = Vec::new();
    for path in entries {
        if path.is_dir() { files.extend(source_files(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

#[test]
fn optimizers_cross_threads() {
    fn is_send_sync<T: Send + Sync>() {}
    is_send_sync::<WgpuAdam>();
    is_send_sync::<TensorArena>();
    is_send_sync::<Param>();
    is_send_sync::<wgpu_adam::Error>();
}
