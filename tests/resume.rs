//! 500 steps, a checkpoint, a new process, 500 more: the bits of 1,000 steps without a break, on every adapter.

#[path = "support/folder.rs"]
mod folder;

use std::path::{Path, PathBuf};
use std::process::Command;

use folder::Folder;
use pollster::block_on;
use wgpu_adam::{
    AdamConfig, Checkpoint, CheckpointContents, CheckpointLoad, Param, ParamGroup, TensorArena, WgpuAdam, wgpu,
};
use wgpu_adam_suite::Gpu;
use wgpu_adam_suite::adapter::adapters;
use wgpu_adam_suite::values::values;

/// What tells a child process on which adapter to go on, from which file, to which.
const ADAPTER: &str = "WGPU_ADAM_TEST_ADAPTER";
const FROM: &str = "WGPU_ADAM_TEST_FROM";
const TO: &str = "WGPU_ADAM_TEST_TO";

const HALF: u64 = 500;
/// Steps before which groups are added: one in each half.
const ADDED: [(u64, &str); 2] = [(300, "third"), (700, "fourth")];

const FIRST: [(&str, usize); 4] = [("first.a", 1000), ("first.b", 257), ("second.a", 64), ("second.b", 3)];

struct Run {
    gpu: Gpu,
    arena: TensorArena,
    adam: WgpuAdam,
    /// Names and gradients of the tensors that were added.
    added: Vec<(&'static str, wgpu::Buffer)>,
}

impl Run {
    /// As it is before step `step`, but for all that a checkpoint holds.
    fn new(gpu: Gpu, step: u64) -> Self {
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
        let adam = WgpuAdam::new(&gpu.device, &gpu.queue, groups, config).unwrap();
        let mut run = Self { gpu, arena, adam, added: Vec::new() };
        for (at, name) in ADDED {
            if at < step {
                run.add(name);
            }
        }
        run
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
        self.added.push((name, grad));
    }

    /// Steps from..to, all of which depends on the number of the step alone: gradients, missing ones, schedules.
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
            self.adam.step().unwrap();
            self.gpu.device.poll(wgpu::PollType::Poll).unwrap();
        }
    }

    fn save(&self, path: &Path) {
        block_on(self.adam.save_checkpoint_with(path, &CheckpointContents::new().params())).unwrap();
        self.gpu.check_errors().unwrap();
    }
}

fn open(number: usize) -> Option<Gpu> {
    let adapter = block_on(adapters()).into_iter().nth(number)?;
    Some(block_on(Gpu::default_limits(&adapter)).unwrap())
}

/// The second half, in a process of its own; nothing unless the other test has started it.
#[test]
fn second_half() {
    let Ok(adapter) = std::env::var(ADAPTER) else { return };
    let path = |key| PathBuf::from(std::env::var_os(key).unwrap());
    let mut run = Run::new(open(adapter.parse().unwrap()).unwrap(), HALF);
    let checkpoint = Checkpoint::open(path(FROM)).unwrap();
    block_on(run.adam.load_from(&checkpoint, CheckpointLoad::StateAndParams)).unwrap();
    run.steps(HALF, 2 * HALF);
    run.save(&path(TO));
}

#[test]
fn a_run_in_two_processes() {
    let mut tested = 0;
    while let Some(gpu) = open(tested) {
        let name = gpu.adapter_name.clone();
        let folder = Folder::new(&format!("resume-{tested}"));
        let (half, resumed, whole) =
            (folder.path().join("half"), folder.path().join("resumed"), folder.path().join("whole"));
        let mut run = Run::new(gpu, 0);
        run.steps(0, HALF);
        run.save(&half);
        run.steps(HALF, 2 * HALF);
        run.save(&whole);

        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "second_half"])
            .env(ADAPTER, tested.to_string())
            .env(FROM, &half)
            .env(TO, &resumed)
            .output()
            .unwrap();
        assert!(child.status.success(), "{name}: {}", String::from_utf8_lossy(&child.stdout));
        let read = |path: &Path| std::fs::read(path).unwrap();
        assert!(read(&half) != read(&whole), "{name}: the second half did nothing");
        let dict = |path: &Path| Checkpoint::open(path).unwrap().state_dict().unwrap();
        assert!(read(&resumed) == read(&whole), "{name}: resumed {:?}\nunbroken {:?}", dict(&resumed), dict(&whole));
        println!("{name}: {} bytes alike after {} steps", read(&whole).len(), 2 * HALF);
        tested += 1;
    }
    assert!(tested > 0, "no adapter: install one, as the README says");
}
