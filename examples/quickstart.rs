//! Fits a line to points on the GPU: the least that a training with wgpu-adam needs.
//!
//! ```sh
//! cargo run --example quickstart
//! ```
//!
//! Ten lines are the optimizer's; they are marked with `// adam`. The rest is the problem to solve and plain wgpu.

use wgpu_adam::{AdamConfig, TensorArena, WgpuAdam, wgpu};

/// Your part: the gradient of the mean of (slope x + intercept - y)^2 over 64 points on y = 3x - 2.
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
    // You open the device.
    let instance = wgpu::Instance::default();
    let adapter = pollster::block_on(instance.request_adapter(&Default::default()))?;
    let limits = WgpuAdam::required_limits(); // adam: the limits that every adapter with compute shaders has
    let descriptor = wgpu::DeviceDescriptor { required_limits: limits, ..Default::default() };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))?;

    // The model's tensors, by name and shape. They begin as zeros.
    let arena = TensorArena::new(&device, [("line", [2])])?; // adam
    let config = AdamConfig { lr: 0.05, ..Default::default() }; // adam
    let mut adam = WgpuAdam::new(&device, &queue, arena.params(), config)?; // adam

    // You compute the gradient, in any pass that writes it.
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
        entries: &[
            bind(0, arena.param("line")?), // adam
            bind(1, arena.grad("line")?),  // adam
        ],
    });

    for step in 0..500 {
        adam.set_lr(0, 0.05 * 0.995_f64.powi(step))?; // adam: any schedule; 0 is the first parameter group
        let mut encoder = device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &bind_group, &[]);
        pass.dispatch_workgroups(1, 1, 1);
        drop(pass);
        adam.record_step(&mut encoder)?; // adam: records the step; submits nothing, waits for nothing
        queue.submit([encoder.finish()]);
    }

    // Reading back waits for the GPU. Training does not.
    let line = pollster::block_on(arena.read_param(&queue, "line"))?; // adam
    println!("y = {:.3} x + {:.3}, wanted y = 3 x - 2", line[0], line[1]);
    assert!((line[0] - 3.0).abs() < 1e-3 && (line[1] + 2.0).abs() < 1e-3, "training did not converge");
    Ok(())
}
