//! A training that is killed at random and goes on from its checkpoint, to the same bits as one that never stopped.
//! Checkpoints need the feature `safetensors`.
//!
//! ```sh
//! cargo run --example resume                           # train, kill, resume, compare
//! cargo run --example resume -- train run.safetensors  # train, or go on: interrupt it and start it again
//! ```

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use wgpu_adam::{AdamConfig, CheckpointContents, TensorArena, WgpuAdam, wgpu};

const STEPS: u64 = 200;
const SAVE_EVERY: u64 = 10;
const KILLS: u64 = 3;

/// The gradient of the mean of (w . x - y)^2 over 16 random points of each step. The step's number chooses the points, so
/// a run that goes on with a wrong number ends with other bits.
const GRADIENT: &str = "
    @group(0) @binding(0) var<storage, read> w: vec4<f32>;
    @group(0) @binding(1) var<storage, read_write> w_grad: vec4<f32>;
    @group(0) @binding(2) var<uniform> step: u32;
    fn random(seed: u32) -> f32 {
        let state = seed * 747796405u + 2891336453u;
        let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
        return f32((word >> 22u) ^ word) / 2147483648.0 - 1.0;
    }
    @compute @workgroup_size(1) fn gradient() {
        var grad = vec4<f32>();
        for (var i = 0u; i < 16u; i++) {
            let seed = (step * 16u + i) * 4u + 1u;
            let x = vec4<f32>(random(seed), random(seed + 1u), random(seed + 2u), random(seed + 3u));
            grad += 2.0 * dot(w - vec4<f32>(1.0, -2.0, 3.0, 0.5), x) * x / 16.0;
        }
        w_grad = grad;
    }";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => compare(),
        ["train", file] => pollster::block_on(train(Path::new(file))),
        _ => Err("usage: resume [train FILE]".into()),
    }
}

/// Trains to the end and saves every few steps. If the file is there, goes on with the run that it holds.
async fn train(file: &Path) -> Result<(), Box<dyn Error>> {
    let adapter = wgpu::Instance::default().request_adapter(&Default::default()).await?;
    let descriptor = wgpu::DeviceDescriptor { required_limits: WgpuAdam::required_limits(), ..Default::default() };
    let (device, queue) = adapter.request_device(&descriptor).await?;
    let arena = TensorArena::new(&device, [("w", [4])])?;
    let mut adam = WgpuAdam::new(&device, &queue, arena.params(), AdamConfig { lr: 0.1, ..Default::default() })?;

    // The file holds the parameters and the optimizer's state. What else the run needs goes into the metadata: the step.
    let mut first = 0;
    if file.exists() {
        let checkpoint = adam.load_checkpoint(file).await?;
        first = checkpoint.metadata().get("step").ok_or("the file does not say the step")?.parse()?;
        println!("resumed before step {first}");
    }

    let source = wgpu::ShaderSource::Wgsl(GRADIENT.into());
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some("gradient"), source });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("gradient"),
        layout: None,
        module: &module,
        entry_point: None,
        compilation_options: Default::default(),
        cache: None,
    });
    let number = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("step"),
        size: 4,
        usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let bind = |binding, buffer| wgpu::BindGroupEntry { binding, resource: wgpu::BindingResource::Buffer(buffer) };
    let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("gradient"),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[bind(0, arena.param("w")?), bind(1, arena.grad("w")?), bind(2, number.as_entire_buffer_binding())],
    });

    for step in first..STEPS {
        println!("step {step}");
        adam.scale_lr(0.99_f64.powf(step as f64))?;
        queue.write_buffer(&number, 0, &(step as u32).to_le_bytes());
        adam.step_with(|_, encoder| {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &bind_group, &[]);
            pass.dispatch_workgroups(1, 1, 1);
            Ok(())
        })?;
        if (step + 1) % SAVE_EVERY == 0 {
            // A kill in the middle of this leaves the old file, whole.
            let contents = CheckpointContents::new().with_metadata("step", (step + 1).to_string());
            adam.save_checkpoint_with(file, &contents).await?;
        }
    }
    let w = arena.read_param(&queue, "w").await?;
    println!("w = {w:?}");
    let close = w.iter().zip([1.0, -2.0, 3.0, 0.5]).all(|(got, wanted)| (got - wanted).abs() < 0.05);
    if close { Ok(()) } else { Err("the training did not converge".into()) }
}

/// Trains once without a stop, and once with kills, each as a process of its own.
fn compare() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("wgpu-adam-resume-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let (unbroken, killed) = (folder.join("unbroken.safetensors"), folder.join("killed.safetensors"));
    start_and_kill(&unbroken, u64::MAX)?;
    for _ in 0..KILLS {
        let random = u64::from(SystemTime::UNIX_EPOCH.elapsed()?.subsec_micros());
        start_and_kill(&killed, 1 + random % (STEPS / KILLS))?;
    }
    start_and_kill(&killed, u64::MAX)?;
    // The files hold parameters, both moments, step counts, learning rates and the step.
    assert!(std::fs::read(&unbroken)? == std::fs::read(&killed)?, "the runs differ: see {}", folder.display());
    println!("the two runs ended with the same bits");
    Ok(std::fs::remove_dir_all(&folder)?)
}

/// Starts this program to train, and kills it when it has printed so many lines, if it has not ended by then.
fn start_and_kill(file: &Path, lines: u64) -> Result<(), Box<dyn Error>> {
    let mut child = Command::new(std::env::current_exe()?).arg("train").arg(file).stdout(Stdio::piped()).spawn()?;
    let output = BufReader::new(child.stdout.take().ok_or("no output")?);
    let mut last = String::new();
    for (line, number) in output.lines().zip(1_u64..) {
        last = line?;
        if number == lines {
            child.kill()?;
        }
    }
    let status = child.wait()?;
    println!("{}: {status}; its last line was: {last}", file.file_stem().unwrap_or_default().display());
    if status.success() || lines != u64::MAX { Ok(()) } else { Err("the training failed".into()) }
}
