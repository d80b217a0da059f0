//! Memory used while a checkpoint is written and read: the process's resident memory, and the allocations of wgpu's
//! allocator, on an adapter that uses the host's memory.
//!
//! 256 MiB of state, or the number of MiB in `WGPU_ADAM_STATE_MIB`; `--nocapture` prints the figures.

#![cfg(target_os = "linux")]

#[path = "support/folder.rs"]
mod folder;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use folder::Folder;
use pollster::block_on;
use wgpu_adam::{AdamConfig, Checkpoint, CheckpointContents, LoadOptions, Param, WgpuAdam, wgpu};
use wgpu_adam_suite::Gpu;
use wgpu_adam_suite::adapter::{adapters, select};

const MIB: u64 = 1 << 20;
const STAGING: u64 = 64 * MIB;
/// One tensor's state: exp_avg and exp_avg_sq of 4 Mi elements.
const TENSOR: u64 = 32 * MIB;

/// A line of /proc/self/status in bytes.
fn status(key: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim_matches([':', ' ', '\t']).trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
}

fn allocated(gpu: &Gpu) -> u64 {
    gpu.device.generate_allocator_report().map_or(0, |report| report.total_allocated_bytes)
}

/// Starts and runs a future. Returns the maximum growth, in bytes, of resident memory and of the GPU's allocations
/// meanwhile.
fn growth<F: Future>(gpu: &Gpu, begin: impl FnOnce() -> F) -> (F::Output, u64, u64) {
    // Resets the high-water mark.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let (resident, on_gpu) = (status("VmRSS"), allocated(gpu));
    let over = AtomicBool::new(false);
    let (done, most_on_gpu) = thread::scope(|scope| {
        // A thread, because buffers may be created and freed within one poll of the future.
        let watch = scope.spawn(|| {
            let mut most = 0;
            while !over.load(Ordering::Relaxed) {
                most = allocated(gpu).max(most);
                thread::sleep(Duration::from_micros(200));
            }
            most
        });
        let done = block_on(begin());
        over.store(true, Ordering::Relaxed);
        (done, watch.join().unwrap())
    });
    (done, status("VmHWM").saturating_sub(resident), most_on_gpu.saturating_sub(on_gpu))
}

/// Whether two files hold the same bytes.
fn same(a: &Path, b: &Path) -> bool {
    let (mut a, mut b) = (fs::File::open(a).unwrap(), fs::File::open(b).unwrap());
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let read = a.read(&mut left).unwrap();
        if read == 0 {
            return b.read(&mut right).unwrap() == 0;
        }
        if b.read_exact(&mut right[..read]).is_err() || left[..read] != right[..read] {
            return false;
        }
    }
}

#[test]
fn checkpoints_stream() {
    let state = std::env::var("WGPU_ADAM_STATE_MIB").map_or(256, |mib| mib.parse().unwrap()) * MIB;
    let wanted = std::env::var("WGPU_ADAM_ADAPTER").unwrap_or_else(|_| "Vulkan llvmpipe".to_owned());
    let adapter = select(block_on(adapters()), Some(&wanted)).expect("an adapter whose memory is the host's");
    let gpu = block_on(Gpu::full(&adapter)).unwrap();
    let buffer = |bytes: u64| {
        gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: bytes,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        })
    };
    // All tensors have the same gradient.
    let grad = buffer(TENSOR / 2);
    let values: Vec<f32> = (0..TENSOR / 8).map(|i| (i % 1021) as f32 - 510.0).collect();
    gpu.queue.write_buffer(&grad, 0, bytemuck::cast_slice(&values));
    drop(values);
    let param = |number| Param::new(format!("p{number}"), [(TENSOR / 8) as usize], &buffer(TENSOR / 2), &grad);
    let params: Vec<Param> = (0..state / TENSOR).map(param).collect();
    let mut adam = WgpuAdam::new(&gpu.device, &gpu.queue, params, AdamConfig::default()).unwrap();
    let finish = || gpu.device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    adam.step().unwrap();
    finish();

    let folder = Folder::new("memory");
    let (first, second) = (folder.path().join("first.safetensors"), folder.path().join("second.safetensors"));
    let mut figures = Vec::new();
    let with_values = CheckpointContents::new();
    for (options, contents, [save_name, load_name]) in [
        (LoadOptions::new().optimizer_only(), CheckpointContents::optimizer_only(), ["save", "load"]),
        (LoadOptions::new(), with_values, ["save with parameters", "load with parameters"]),
    ] {
        let (saved, resident, on_gpu) = growth(&gpu, || adam.save_checkpoint_with(&first, &contents));
        saved.unwrap();
        figures.push((save_name, resident, on_gpu));
        adam.step().unwrap();
        finish();
        let (loaded, resident, on_gpu) = growth(&gpu, || async {
            let checkpoint = Checkpoint::open(&first)?;
            adam.load_from_with(&checkpoint, &options).await
        });
        loaded.unwrap();
        figures.push((load_name, resident, on_gpu));
        block_on(adam.save_checkpoint_with(&second, &contents)).unwrap();
        assert!(same(&first, &second), "{load_name}: the loaded state is not the saved one");
    }

    for (what, resident, on_gpu) in figures {
        let mib = |bytes: u64| bytes as f64 / MIB as f64;
        println!(
            "{what} {} MiB on {}: resident memory +{:.1} MiB, GPU memory +{:.1} MiB",
            state / MIB,
            gpu.adapter_name,
            mib(resident),
            mib(on_gpu)
        );
        assert!(resident <= STAGING * 22 / 10, "{what}: {resident} bytes of resident memory more");
        assert!(on_gpu <= STAGING, "{what}: {on_gpu} bytes of GPU memory more");
    }
}
