//! 500 steps, a checkpoint, a new process and 500 more steps give the bits of 1,000 uninterrupted steps, on every
//! adapter: without gradient control, and with a dynamic loss scale that is interrupted while it grows.

#[path = "support/folder.rs"]
mod folder;

use std::path::{Path, PathBuf};
use std::process::Command;

use folder::Folder;
use pollster::block_on;
use wgpu_adam::{
    AdamConfig, Checkpoint, CheckpointContents, GradScalerState, GradientControl, LossScale, Param, ParamGroup,
    StepStatistics, TensorArena, WgpuAdam, wgpu,
};
use wgpu_adam_suite::Gpu;
use wgpu_adam_suite::adapter::adapters;
use wgpu_adam_suite::values::{value, values};

/// Instructions for a child process: the adapter, the control, the file to resume, the file to save.
const ADAPTER: &str = "WGPU_ADAM_TEST_ADAPTER";
const CONTROL: &str = "WGPU_ADAM_TEST_CONTROL";
const FROM: &str = "WGPU_ADAM_TEST_FROM";
const TO: &str = "WGPU_ADAM_TEST_TO";

const HALF: u64 = 500;
/// Steps before which groups are added: one in each half.
const ADDED: [(u64, &str); 2] = [(300, "third"), (700, "fourth")];

const FIRST: [(&str, usize); 4] = [("first.a", 1000), ("first.b", 257), ("second.a", 64), ("second.b", 3)];

/// Factors that change the last bits, which powers of two would not.
const GROWTH: f64 = 1.5;
const BACKOFF: f64 = 0.375;
const INTERVAL: u32 = 23;

const CONTROLS: [&str; 3] = ["no control", "a dynamic scale", "a dynamic scale, clipped"];

fn control(name: &str) -> GradientControl {
    let loss_scale = match name {
        "no control" => LossScale::None,
        "a dynamic scale" | "a dynamic scale, clipped" => LossScale::Dynamic {
            init_scale: 1000.0,
            growth_factor: GROWTH,
            backoff_factor: BACKOFF,
            growth_interval: INTERVAL,
        },
        other => panic!("no control {other}"),
    };
    GradientControl { loss_scale, max_norm: name.ends_with("clipped").then_some(3.0), ..Default::default() }
}

/// Multiplies gradients by the loss scale in its buffer. Values too large for f16 become infinity, by its bits, since
/// WGSL has no literal for it.
const BACKWARD: &str = "
    @group(0) @binding(0) var<uniform> scale: vec4<f32>;
    @group(0) @binding(1) var<storage, read_write> grad: array<f32>;
    @compute @workgroup_size(64) fn backward(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x < arrayLength(&grad)) {
            let scaled = grad[id.x] * scale.x;
            grad[id.x] = bitcast<f32>(select(bitcast<u32>(scaled), 0x7f800000u, abs(scaled) > 65504.0));
        }
    }";

struct Run {
    gpu: Gpu,
    arena: TensorArena,
    adam: WgpuAdam,
    /// Names and gradients of the tensors that were added.
    added: Vec<(&'static str, wgpu::Buffer)>,
    backward: wgpu::ComputePipeline,
    /// For each buffer of gradients, its bind group and workgroups; empty if no loss is scaled.
    scaled: Vec<(wgpu::BindGroup, u32)>,
}

impl Run {
    /// The run before step `step`, apart from everything that a checkpoint contains.
    fn new(gpu: Gpu, step: u64, control: GradientControl) -> Self {
        let arena = TensorArena::new(&gpu.device, FIRST.map(|(name, length)| (name, [length]))).unwrap();
        for (seed, (name, length)) in (1..).zip(FIRST) {
            arena.write_param(&gpu.queue, name, &values(seed, length as u64)).unwrap();
        }
        let mut first = arena.params();
        let second = first.split_off(2);
        let groups = [
            ParamGroup::new(first).betas((0.8, 0.99)),
            ParamGroup::new(second).amsgrad(true).weight_decay(0.1).decoupled_weight_decay(true),
        ];
        let config = AdamConfig { lr: 0.01, ..Default::default() };
        let mut adam = WgpuAdam::new(&gpu.device, &gpu.queue, groups, config).unwrap();
        adam.set_gradient_control(control).unwrap();
        let module = gpu.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("backward"),
            source: wgpu::ShaderSource::Wgsl(BACKWARD.into()),
        });
        let backward = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("backward"),
            layout: None,
            module: &module,
            entry_point: None,
            compilation_options: Default::default(),
            cache: None,
        });
        let mut run = Self { gpu, arena, adam, added: Vec::new(), backward, scaled: Vec::new() };
        run.scale(run.arena.grad_buffer("first.a").unwrap().buffer().clone());
        for (at, name) in ADDED {
            if at < step {
                run.add(name);
            }
        }
        run
    }

    /// Scales the gradients of a buffer before each step.
    fn scale(&mut self, grad: wgpu::Buffer) {
        let Some(scale) = self.adam.loss_scale_buffer() else { return };
        let scale = wgpu::BufferBinding { buffer: scale, offset: 0, size: wgpu::BufferSize::new(16) };
        let bindings = self.gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("backward"),
            layout: &self.backward.get_bind_group_layout(0),
            entries: &[
                wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(scale) },
                wgpu::BindGroupEntry { binding: 1, resource: grad.as_entire_binding() },
            ],
        });
        self.scaled.push((bindings, (grad.size() / 4).div_ceil(64) as u32));
    }

    fn add(&mut self, name: &'static str) {
        let buffer = || {
            self.gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: 400,
                usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        };
        let (param, grad) = (buffer(), buffer());
        self.adam.add_param_group(ParamGroup::new([Param::new(name, [10, 10], &param, &grad)]).amsgrad(true)).unwrap();
        self.added.push((name, grad.clone()));
        self.scale(grad);
    }

    /// Steps from..to. Gradients, missing gradients, overflows and schedules depend only on the step's number and the
    /// state.
    fn steps(&mut self, from: u64, to: u64) {
        for step in from..to {
            if let Some((_, name)) = ADDED.into_iter().find(|(at, _)| *at == step) {
                self.add(name);
            }
            self.adam.set_lr(0, 0.01 * 0.995_f64.powi(step as i32)).unwrap();
            self.adam.set_weight_decay(1, if step % 100 < 50 { 0.1 } else { 0.05 }).unwrap();
            for (number, (name, length)) in (0..).zip(FIRST) {
                let id = self.adam.find(name).unwrap();
                if step % (5 + number) == 3 {
                    self.adam.set_grad_to_none(id).unwrap();
                } else {
                    self.adam.set_grad(id, self.arena.grad_buffer(name).unwrap()).unwrap();
                    let grad = values(step * 7 + number, length as u64);
                    self.arena.write_grad(&self.gpu.queue, name, &grad).unwrap();
                }
            }
            for (number, (_, grad)) in (0..).zip(&self.added) {
                self.gpu.queue.write_buffer(grad, 0, bytemuck::cast_slice(&values(step * 11 + number, 100)));
            }
            if !self.scaled.is_empty() && value(9999, step) > 0.98 {
                let nan = bytemuck::bytes_of(&f32::NAN);
                let grad = self.arena.grad_buffer("second.a").unwrap();
                self.gpu.queue.write_buffer(grad.buffer(), grad.offset() + 4 * (step % 64), nan);
            }
            let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&self.backward);
            for (bindings, workgroups) in &self.scaled {
                pass.set_bind_group(0, bindings, &[]);
                pass.dispatch_workgroups(*workgroups, 1, 1);
            }
            drop(pass);
            self.adam.record_step(&mut encoder).unwrap();
            self.gpu.queue.submit([encoder.finish()]);
            self.gpu.device.poll(wgpu::PollType::Poll).unwrap();
        }
    }

    fn save(&self, path: &Path) {
        block_on(self.adam.save_checkpoint_with(path, &CheckpointContents::new())).unwrap();
        self.gpu.check_errors().unwrap();
    }
}

fn open(number: usize) -> Option<Gpu> {
    let adapter = block_on(adapters()).into_iter().nth(number)?;
    Some(block_on(Gpu::default_limits(&adapter)).unwrap())
}

/// The second half, in a separate process. Does nothing unless the other test has started it.
#[test]
fn second_half() {
    let Ok(adapter) = std::env::var(ADAPTER) else { return };
    let path = |key| PathBuf::from(std::env::var_os(key).unwrap());
    let control = control(&std::env::var(CONTROL).unwrap());
    let mut run = Run::new(open(adapter.parse().unwrap()).unwrap(), HALF, control);
    let checkpoint = Checkpoint::open(path(FROM)).unwrap();
    block_on(run.adam.load_from(&checkpoint)).unwrap();
    run.steps(HALF, 2 * HALF);
    run.save(&path(TO));
}

#[test]
fn a_run_in_two_processes() {
    let mut tested = 0;
    while let Some(gpu) = open(tested) {
        drop(gpu);
        for control in CONTROLS {
            in_two_processes(tested, control);
        }
        tested += 1;
    }
    assert!(tested > 0, "no adapter: install one, as the README says");
}

fn in_two_processes(adapter: usize, name: &str) {
    let gpu = open(adapter).unwrap();
    let case = format!("{}, {name}", gpu.adapter_name);
    let folder = Folder::new(&format!("resume-{adapter}"));
    let [half, resumed, whole] = ["half", "resumed", "whole"].map(|file| folder.path().join(file));
    let mut run = Run::new(gpu, 0, control(name));
    run.steps(0, HALF);
    run.save(&half);
    run.steps(HALF, 2 * HALF);
    run.save(&whole);

    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "second_half"])
        .env(ADAPTER, adapter.to_string())
        .env(CONTROL, name)
        .env(FROM, &half)
        .env(TO, &resumed)
        .output()
        .unwrap();
    assert!(child.status.success(), "{case}: {}", String::from_utf8_lossy(&child.stdout));
    let read = |path: &Path| std::fs::read(path).unwrap();
    assert!(read(&half) != read(&whole), "{case}: the second half did nothing");
    let dict = |path: &Path| Checkpoint::open(path).unwrap().state_dict().unwrap();
    let scalers = [&half, &whole, &resumed].map(|path| dict(path).grad_scaler);
    assert_eq!(scalers[1], scalers[2], "{case}: the resumed scale differs from the uninterrupted one");
    assert!(read(&resumed) == read(&whole), "{case}: resumed {:?}\nunbroken {:?}", dict(&resumed), dict(&whole));
    match scalers {
        [None, None, None] => assert_eq!(name, "no control", "{case}: no scale was saved"),
        [Some(half), Some(whole), _] => check_growth(&case, half, whole, block_on(run.adam.statistics()).unwrap()),
        other => panic!("{case}: {other:?}"),
    }
    println!("{case}: {} equal bytes after {} steps, {:?}", read(&whole).len(), 2 * HALF, scalers[0]);
}

/// Checks that the test is not trivial: at the checkpoint the scale is growing, has grown and backed off before, and
/// does both later.
fn check_growth(case: &str, half: GradScalerState, whole: GradScalerState, told: StepStatistics) {
    assert!((1..INTERVAL - 1).contains(&half.growth_tracker), "{case}: not in the middle of growth: {half:?}");
    assert!(half.scale != 1000.0 && half.scale.fract() != 0.0, "{case}: {half:?}");
    assert!(whole.scale != half.scale, "{case}: {half:?}, {whole:?}");
    assert!(told.steps_skipped >= 10 && told.steps_taken >= 900, "{case}: {told:?}");
}
