//! Trains without a window or a surface, on a GPU or on a software adapter: what a CI or a server does.
//!
//! ```sh
//! cargo run --example headless
//! ```
//!
//! Prints the adapter, minimizes Rosenbrock's function, and exits with 0, or with another status and a reason. A machine
//! without a GPU needs a software driver: on Debian and Ubuntu `apt-get install mesa-vulkan-drivers libvulkan1`.

use std::error::Error;

use wgpu_adam::{AdamConfig, TensorArena, WgpuAdam, wgpu};

/// The gradient of Rosenbrock's function, (1 - x)^2 + 100 (y - x^2)^2. Its minimum lies at x = y = 1, in a curved valley
/// whose sides are a hundred times as steep as its floor.
const GRADIENT: &str = "
    @group(0) @binding(0) var<storage, read> point: vec2<f32>;
    @group(0) @binding(1) var<storage, read_write> point_grad: vec2<f32>;
    @compute @workgroup_size(1) fn gradient() {
        let off = point.y - point.x * point.x;
        point_grad = vec2<f32>(-2.0 * (1.0 - point.x) - 400.0 * point.x * off, 200.0 * off);
    }";

fn main() -> Result<(), Box<dyn Error>> {
    pollster::block_on(train())
}

async fn train() -> Result<(), Box<dyn Error>> {
    let adapter = choose_adapter().await?;
    println!("adapter: {}", describe(&adapter));
    let descriptor = wgpu::DeviceDescriptor { required_limits: WgpuAdam::required_limits(), ..Default::default() };
    let (device, queue) = adapter.request_device(&descriptor).await?;

    let arena = TensorArena::new(&device, [("point", [2])])?;
    arena.write_param(&queue, "point", &[-1.0, 1.0])?;
    let mut adam = WgpuAdam::new(&device, &queue, arena.params(), AdamConfig { lr: 0.02, ..Default::default() })?;

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
    let bind = |binding, buffer| wgpu::BindGroupEntry { binding, resource: wgpu::BindingResource::Buffer(buffer) };
    let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("gradient"),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[bind(0, arena.param("point")?), bind(1, arena.grad("point")?)],
    });

    // Many steps may go into one encoder: fewer submits, which matters where each one costs more than the work in it.
    for _ in 0..60 {
        let mut encoder = device.create_command_encoder(&Default::default());
        for _ in 0..50 {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &bind_group, &[]);
            pass.dispatch_workgroups(1, 1, 1);
            drop(pass);
            adam.record_step(&mut encoder)?;
        }
        queue.submit([encoder.finish()]);
    }

    let point = arena.read_param(&queue, "point").await?;
    println!("3000 steps: from (-1, 1) to ({:.4}, {:.4}); the minimum is at (1, 1)", point[0], point[1]);
    if point.iter().any(|coordinate| (coordinate - 1.0).abs() > 1e-3 || coordinate.is_nan()) {
        return Err("the training did not reach the minimum".into());
    }
    Ok(())
}

/// The adapter most like a GPU: a discrete one, else an integrated or virtual one, else a software adapter.
async fn choose_adapter() -> Result<wgpu::Adapter, Box<dyn Error>> {
    // No display and no window are passed to the instance, so none is needed. `new_without_display_handle_from_env` lets
    // whoever runs this choose a backend: WGPU_BACKEND=gl, say.
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapters = instance.enumerate_adapters(wgpu::Backends::all()).await;
    let rank = |adapter: &wgpu::Adapter| match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu | wgpu::DeviceType::VirtualGpu => 1,
        wgpu::DeviceType::Other => 2,
        wgpu::DeviceType::Cpu => 3,
    };
    let able = |adapter: &wgpu::Adapter| {
        adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS)
    };
    let chosen = adapters.into_iter().filter(able).min_by_key(rank);
    chosen.ok_or_else(|| "no adapter with compute shaders: install a GPU driver or a software driver".into())
}

fn describe(adapter: &wgpu::Adapter) -> String {
    let info = adapter.get_info();
    let kind = if info.device_type == wgpu::DeviceType::Cpu { "software" } else { "hardware" };
    format!("{} on {:?}, {kind}", info.name, info.backend)
}
