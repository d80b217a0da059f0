//! What optimizers on one device have in common.

use pollster::block_on;
use wgpu_adam::{AdamConfig, TensorArena, WgpuAdam, wgpu};
use wgpu_adam_suite::Gpu;
use wgpu_adam_suite::adapter::adapters;

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

/// A line of /proc/self/status in MiB.
#[cfg(target_os = "linux")]
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<f64>().unwrap() / 1024.0
}

/// Prints what a thousand optimizers of one small tensor take: `--ignored --nocapture`.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "prints figures"]
fn a_thousand_optimizers() {
    use wgpu_adam::GradientControl;
    let control = GradientControl { clip_norm: Some(1.0), skip_nonfinite: true, ..GradientControl::default() };
    for (name, device, queue) in devices() {
        for controlled in [false, true] {
            let arenas: Vec<TensorArena> =
                (0..1000).map(|_| TensorArena::new(&device, [("a", [100])]).unwrap()).collect();
            let (before, start) = (resident(), std::time::Instant::now());
            let mut all = Vec::new();
            for arena in &arenas {
                let mut adam = WgpuAdam::new(&device, &queue, arena.params(), AdamConfig::default()).unwrap();
                if controlled {
                    adam.set_gradient_control(control.clone()).unwrap();
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
