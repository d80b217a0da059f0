//! Fits a line to points on the GPU: the minimum for training with wgpu-adam. Run it with `cargo run --example
//! quickstart`.

use wgpu_adam::{AdamConfig, TensorArena, WgpuAdam, wgpu};

/// The caller's own part: the gradient of the mean of (slope x + intercept - y)^2 over 64 points on y = 3x - 2.
const GRADIENT: &str = "
    @group(0) @binding(0) var<storage, read> line: array<f32>;
    @group(0) @binding(1) var<storage, read_write> line_grad: array<f32>;
    @compute @workgroup_size(1) fn gradient() {
        var grad = vec2<f32>();
        for (var i = 0; i < 64; i++) {
            let x = f32(i) / 32.0 - 1.0;
            let off = line[0] * x + line[1] - (3.0 * x - 2.0);
            grad += 2.0 * off * vec2<f32>(x, 1.0) / 64.0;
        }
        line_grad[0] = grad.x;
        line_grad[1] = grad.y;
    }";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // You create the device and the queue.
    let instance = wgpu::Instance::default();
    let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))?;
    let descriptor =
        wgpu::DeviceDescriptor { required_limits: wgpu::Limits::downlevel_defaults(), ..Default::default() };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))?;

    // The model's tensors: names and shapes. They begin as zeros.
    let arena = TensorArena::new(&device, [("line", [2])])?;
    let mut adam = WgpuAdam::new(&device, &queue, arena.params(), AdamConfig { lr: 0.05, ..Default::default() })?;

    // You provide the gradient too, by any pass that writes it.
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("gradient"),
        source: wgpu::ShaderSource::Wgsl(GRADIENT.into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("gradient"),
        layout: None,
        module: &module,
        entry_point: None,
        compilation_options: Default::default(),
        cache: None,
    });
    let bind = |binding, part| wgpu::BindGroupEntry { binding, resource: wgpu::BindingResource::Buffer(part) };
    let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("gradient"),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[bind(0, arena.param("line")?), bind(1, arena.grad("line")?)],
    });

    for step in 0..500 {
        adam.set_lr(0, 0.05 * 0.995_f64.powi(step))?;
        let mut encoder = device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &bind_group, &[]);
        pass.dispatch_workgroups(1, 1, 1);
        drop(pass);
        adam.record_step(&mut encoder)?; // encodes, does not submit
        queue.submit([encoder.finish()]);
    }

    // Reading back waits; training does not.
    let (sender, receiver) = std::sync::mpsc::channel();
    let line = arena.param_buffer("line")?;
    let range = line.buffer().slice(line.offset()..line.offset() + 8);
    wgpu::util::DownloadBuffer::read_buffer(&device, &queue, &range, move |bytes| drop(sender.send(bytes)));
    device.poll(wgpu::PollType::wait_indefinitely())?;
    let bytes = receiver.recv()??;
    let line: &[f32] = bytemuck::cast_slice(&bytes);
    println!("y = {:.3} x + {:.3}, wanted y = 3 x - 2", line[0], line[1]);
    assert!((line[0] - 3.0).abs() < 1e-3 && (line[1] + 2.0).abs() < 1e-3, "training did not converge");
    Ok(())
}
