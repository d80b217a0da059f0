//! Trains a two-layer network to draw a sine, with what a real training has: AdamW with two parameter groups, warm-up and
//! cosine, clipping by the global norm, statistics, and a shader that binds the whole model at once.
//!
//! ```sh
//! cargo run --example mlp
//! ```

use std::f64::consts::PI;

use pollster::block_on;
use wgpu::util::DeviceExt;
use wgpu_adam::{AdamConfig, GradientControl, ParamGroup, TensorArena, WgpuAdam, wgpu};

const UNITS: usize = 64;
const POINTS: usize = 256;
const STEPS: u32 = 2000;

/// Forward and backward. `arena.offsets_wgsl()` is put before it: it says where each tensor begins in `params` and, at the
/// same place, in `grads`. So two bindings hold the whole model, however many tensors it has. With the points and the
/// errors there are four storage buffers, which every device allows.
const NETWORK: &str = "
    @group(0) @binding(0) var<storage, read> params: array<f32>;
    @group(0) @binding(1) var<storage, read_write> grads: array<f32>;
    @group(0) @binding(2) var<storage, read> points: array<vec2<f32>>; // x, and the y that is wanted there
    @group(0) @binding(3) var<storage, read_write> errors: array<f32>;

    fn hidden(unit: u32, x: f32) -> f32 {
        return tanh(params[HIDDEN_WEIGHT + unit] * x + params[HIDDEN_BIAS + unit]);
    }

    // One invocation a point.
    @compute @workgroup_size(64) fn forward(@builtin(global_invocation_id) id: vec3<u32>) {
        if id.x >= arrayLength(&points) { return; }
        var y = params[OUT_BIAS];
        for (var unit = 0u; unit < HIDDEN_BIAS_LENGTH; unit++) {
            y += params[OUT_WEIGHT + unit] * hidden(unit, points[id.x].x);
        }
        errors[id.x] = y - points[id.x].y;
    }

    // One invocation a hidden unit. The loss is the mean of the squared errors.
    @compute @workgroup_size(64) fn backward(@builtin(global_invocation_id) id: vec3<u32>) {
        let unit = id.x;
        if unit >= HIDDEN_BIAS_LENGTH { return; }
        var sum = vec4<f32>();
        for (var i = 0u; i < arrayLength(&points); i++) {
            let x = points[i].x;
            let h = hidden(unit, x);
            let out = 2.0 * errors[i] / f32(arrayLength(&points));
            let inner = out * params[OUT_WEIGHT + unit] * (1.0 - h * h);
            sum += vec4<f32>(inner * x, inner, out * h, out);
        }
        grads[HIDDEN_WEIGHT + unit] = sum.x;
        grads[HIDDEN_BIAS + unit] = sum.y;
        grads[OUT_WEIGHT + unit] = sum.z;
        if unit == 0u { grads[OUT_BIAS] = sum.w; }
    }";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let adapter = block_on(wgpu::Instance::default().request_adapter(&Default::default()))?;
    let descriptor = wgpu::DeviceDescriptor { required_limits: WgpuAdam::required_limits(), ..Default::default() };
    let (device, queue) = block_on(adapter.request_device(&descriptor))?;

    // The model begins with random weights and biases.
    let tensors = [("hidden.weight", [UNITS]), ("hidden.bias", [UNITS]), ("out.weight", [UNITS]), ("out.bias", [1])];
    let arena = TensorArena::new(&device, tensors)?;
    let mut random = 1_u32;
    let mut random = |count: usize, most: f32| -> Vec<f32> {
        let mut next = || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((random >> 8) as f32 / 8_388_608.0 - 1.0) * most
        };
        (0..count).map(|_| next()).collect()
    };
    arena.write_param(&queue, "hidden.weight", &random(UNITS, 2.0))?;
    arena.write_param(&queue, "hidden.bias", &random(UNITS, 6.0))?;
    arena.write_param(&queue, "out.weight", &random(UNITS, 0.2))?;

    // AdamW. Weights decay, biases do not. One dispatch steps both groups.
    let (biases, weights) = ParamGroup::partition(arena.params(), |name| name.ends_with("bias"));
    let config = AdamConfig { lr: 0.02, ..AdamConfig::adamw() };
    let mut adam = WgpuAdam::new(&device, &queue, [weights.weight_decay(1e-4), biases.weight_decay(0.0)], config)?;
    assert_eq!(adam.dispatch_count(), 1);
    // The device measures the norm of all gradients and clips them in the same submit. Nothing waits for it.
    adam.set_gradient_control(GradientControl { max_norm: Some(1.0), ..Default::default() })?;

    // The points of the curve, and the passes.
    let points: Vec<[f32; 2]> =
        (0..POINTS).map(|i| i as f32 / POINTS as f32 * 12.0 - 6.0).map(|x| [x, x.sin()]).collect();
    let buffer = |label, contents| {
        let usage = wgpu::BufferUsages::STORAGE;
        device.create_buffer_init(&wgpu::util::BufferInitDescriptor { label: Some(label), contents, usage })
    };
    let points_buffer = buffer("points", bytemuck::cast_slice(&points));
    let errors = buffer("errors", &[0; 4 * POINTS]);
    let source = wgpu::ShaderSource::Wgsl((arena.offsets_wgsl() + NETWORK).into());
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some("network"), source });
    let buffers = [arena.params_buffer(), arena.grads_buffer(), &points_buffer, &errors];
    let pass = |entry_point, bindings: &[u32], invocations: usize| {
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(entry_point),
            layout: None,
            module: &module,
            entry_point: Some(entry_point),
            compilation_options: Default::default(),
            cache: None,
        });
        let resource = |binding: u32| buffers[binding as usize].as_entire_binding();
        let entries = bindings.iter().map(|&binding| wgpu::BindGroupEntry { binding, resource: resource(binding) });
        let (entries, layout) = (&entries.collect::<Vec<_>>()[..], &pipeline.get_bind_group_layout(0));
        let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries });
        (pipeline, bind_group, invocations.div_ceil(64) as u32)
    };
    let passes = [pass("forward", &[0, 2, 3], POINTS), pass("backward", &[0, 1, 2, 3], UNITS)];

    for step in 0..STEPS {
        // Warm-up and cosine, as a factor of the rate that each group was given.
        let done = f64::from(step) / f64::from(STEPS);
        adam.scale_lr((f64::from(step + 1) / 100.0).min(1.0) * 0.5 * (1.0 + (PI * done).cos()))?;
        let mut encoder = device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for (pipeline, bind_group, workgroups) in &passes {
            pass.set_pipeline(pipeline);
            pass.set_bind_group(0, bind_group, &[]);
            pass.dispatch_workgroups(*workgroups, 1, 1);
        }
        drop(pass);
        adam.record_step(&mut encoder)?;
        queue.submit([encoder.finish()]);
        // Statistics of a step that has come back already: some steps late, without waiting.
        if let Some(statistics) = adam.latest_statistics().filter(|_| step % 400 == 9) {
            println!("after {} steps: {statistics}", step + 1);
        }
    }
    assert_eq!(block_on(adam.statistics())?.steps_taken, u64::from(STEPS));

    // The network as the host computes it, with the weights from the GPU.
    let read = |name| block_on(arena.read_param(&queue, name));
    let (weights, biases) = (read("hidden.weight")?, read("hidden.bias")?);
    let (out, out_bias) = (read("out.weight")?, read("out.bias")?[0]);
    let unit = |i: usize, x: f32| out[i] * (weights[i] * x + biases[i]).tanh();
    let network = |x: f32| (0..UNITS).map(|i| unit(i, x)).sum::<f32>() + out_bias;
    let loss = points.iter().map(|[x, y]| (network(*x) - y).powi(2)).sum::<f32>() / POINTS as f32;
    println!("mean squared error: {loss:.2e}");
    assert!(loss < 1e-3, "training did not converge");
    Ok(())
}
