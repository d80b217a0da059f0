//! What optimizers on one device share, counted in wgpu-core's own log: the first optimizer that needs a shader module,
//! layout or pipeline creates it, and the last one that uses it frees it.

use std::sync::Barrier;

use pollster::block_on;
use wgpu_adam::{AdamConfig, GradientControl, LossScale, Param, ParamGroup, TensorArena, WgpuAdam, wgpu};
use wgpu_adam_suite::Gpu;
use wgpu_adam_suite::adapter::adapters;
use wgpu_adam_suite::calls::{Counts, calls};

type Device = (String, wgpu::Device, wgpu::Queue);

fn noop() -> Device {
    let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
    ("noop".to_owned(), device, queue)
}

fn open(adapter: &wgpu::Adapter) -> Device {
    let gpu = block_on(Gpu::default_limits(adapter)).unwrap();
    (gpu.adapter_name, gpu.device, gpu.queue)
}

/// The noop device and every adapter of the machine.
fn devices() -> Vec<Device> {
    let mut all = vec![noop()];
    all.extend(block_on(adapters()).iter().map(open));
    assert!(all.len() > 1, "no adapter: install one, as the README says");
    all
}

/// What can be shared.
const SHARED: [&str; 4] =
    ["create_shader_module", "create_bind_group_layout", "create_pipeline_layout", "create_compute_pipeline"];

/// The objects that `work` creates, of those kinds that can be shared.
fn made<T>(work: impl FnOnce() -> T) -> (Counts, T) {
    let (mut counts, done) = calls(work);
    counts.retain(|kind, _| SHARED.contains(kind));
    (counts, done)
}

fn storage(device: &wgpu::Device, size: u64) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size,
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}

/// A plain optimizer after a step.
fn plain((_, device, queue): &Device) -> WgpuAdam {
    let arena = TensorArena::new(device, [("a", [100]), ("b", [7])]).unwrap();
    let mut adam = WgpuAdam::new(device, queue, arena.params(), AdamConfig::default()).unwrap();
    adam.step().unwrap();
    adam
}

/// An optimizer that has used everything: both storage preludes, tiles and flat dispatches, options that select code,
/// norms, decisions, counts that were moved.
fn versatile((_, device, queue): &Device) -> WgpuAdam {
    let arena = TensorArena::new(device, (0..40).map(|number| (format!("a{number}"), [number * 37 + 1]))).unwrap();
    let own = (storage(device, 4096), storage(device, 4096));
    let groups = [
        ParamGroup::new(arena.params()),
        ParamGroup::new([Param::new("own", [1023], &own.0, &own.1)]).amsgrad(true).weight_decay(0.1),
    ];
    let mut adam = WgpuAdam::new(device, queue, groups, AdamConfig::default()).unwrap();
    adam.step().unwrap();
    let clip = GradientControl { max_norm: Some(1.0), loss_scale: LossScale::dynamic(), ..Default::default() };
    for control in [clip, GradientControl { norm_type: wgpu_adam::NormType::Infinity, clip_value: Some(1.0), ..clip }] {
        adam.set_gradient_control(control).unwrap();
        adam.step().unwrap();
    }
    // More tensors than the first buffer of counts has room for.
    let many = TensorArena::new(device, (0..1100).map(|number| (format!("m{number}"), [1]))).unwrap();
    adam.add_param_group(ParamGroup::new(many.params()).decoupled_weight_decay(true)).unwrap();
    adam.step().unwrap();
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    adam
}

#[test]
fn the_first_makes_and_the_last_lets_go() {
    for device in devices() {
        let name = &device.0;
        for (what, optimizer) in [("plain", plain as fn(&Device) -> WgpuAdam), ("versatile", versatile)] {
            let (first, one) = made(|| optimizer(&device));
            for kind in SHARED {
                assert!(first.get(kind).is_some_and(|count| *count > 0), "{name}, {what}: no {kind} in {first:?}");
            }
            let (second, two) = made(|| optimizer(&device));
            assert_eq!(second, Counts::new(), "{name}, {what}: a second one");
            drop(one);
            let (third, three) = made(|| optimizer(&device));
            assert_eq!(third, Counts::new(), "{name}, {what}: a third one, when the first is gone");
            drop((two, three));
            let (anew, last) = made(|| optimizer(&device));
            assert_eq!(anew, first, "{name}, {what}: one when all are gone");
            drop(last);
        }
        // An optimizer creates only what it needs and the existing ones did not.
        let _plain = plain(&device);
        let (more, _versatile) = made(|| versatile(&device));
        assert!(more.get("create_compute_pipeline").is_some_and(|count| *count > 3), "{name}: {more:?}");
        let (none, _) = made(|| plain(&device));
        assert_eq!(none, Counts::new(), "{name}: a plain one beside a versatile one");
    }
}

/// Two devices of one adapter, and devices of two instances. Instances number their devices alike, and wgpu then
/// considers two devices equal.
#[test]
fn two_devices_share_nothing() {
    let mut pairs = vec![("two instances", noop(), noop())];
    assert!(pairs[0].1.1 == pairs[0].2.1, "wgpu tells devices of two instances apart: is_same_device can be simpler");
    for (adapter, other) in block_on(adapters()).iter().zip(&block_on(adapters())) {
        pairs.push(("one adapter", open(adapter), open(adapter)));
        pairs.push(("two instances", open(adapter), open(other)));
    }
    assert!(pairs.len() > 1, "no adapter: install one, as the README says");
    for (what, one, other) in pairs {
        let name = &one.0;
        let (first, _ours) = made(|| versatile(&one));
        let (second, _theirs) = made(|| versatile(&other));
        assert_eq!(second, first, "{name}, {what}: on the other device");
        for device in [&one, &other, &one] {
            let (none, _) = made(|| versatile(device));
            assert_eq!(none, Counts::new(), "{name}, {what}: a second one on each");
        }
    }
}

/// Threads that create a device's first optimizers at the same moment: none waits for ever, and in the end all share.
#[test]
fn threads_share() {
    const THREADS: usize = 8;
    for device in devices() {
        let name = &device.0;
        for round in 0..5 {
            let start = Barrier::new(THREADS);
            let all: Vec<WgpuAdam> = std::thread::scope(|scope| {
                let make = || {
                    start.wait();
                    plain(&device)
                };
                let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(make)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let (none, _) = made(|| plain(&device));
            assert_eq!(none, Counts::new(), "{name}, round {round}: one more beside {}", all.len());
            drop(all);
            let (anew, _) = made(|| plain(&device));
            assert_eq!(anew.get("create_shader_module"), Some(&2), "{name}, round {round}: when all are gone");
        }
    }
}

/// A line of /proc/self/status in MiB.
#[cfg(target_os = "linux")]
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<f64>().unwrap() / 1024.0
}

/// Prints the cost of a thousand optimizers of one small tensor: `--ignored --nocapture`.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "prints figures"]
fn a_thousand_optimizers() {
    let control = GradientControl { max_norm: Some(1.0), skip_nonfinite: true, ..GradientControl::default() };
    for (name, device, queue) in devices() {
        for controlled in [false, true] {
            let arenas: Vec<TensorArena> =
                (0..1000).map(|_| TensorArena::new(&device, [("a", [100])]).unwrap()).collect();
            let (before, start) = (resident(), std::time::Instant::now());
            let mut all = Vec::new();
            for arena in &arenas {
                let mut adam = WgpuAdam::new(&device, &queue, arena.params(), AdamConfig::default()).unwrap();
                if controlled {
                    adam.set_gradient_control(control).unwrap();
                }
                adam.step().unwrap();
                all.push(adam);
            }
            device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
            let (time, memory) = (start.elapsed(), resident() - before);
            println!("{name}, gradient control {controlled}: {:.2} s, {memory:.0} MiB", time.as_secs_f64());
            drop(all);
            device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        }
    }
}
