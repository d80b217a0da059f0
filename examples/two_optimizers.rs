//! Two optimizers on one device, in turn: a generator learns to imitate data, and a critic learns to tell them apart.
//!
//! ```sh
//! cargo run --example two_optimizers
//! ```
//!
//! The data are normal numbers with mean 2 and spread 0.5. The generator makes `mean + spread * noise` and must find
//! both. The critic scores a number x with a x + b x^2; its value is the mean score of the data less that of the
//! generator's numbers, less (a^2 + b^2) / 2. The critic ascends it, the generator descends it.

use std::time::Instant;

use wgpu::util::DeviceExt;
use wgpu_adam::{AdamConfig, TensorArena, WgpuAdam, wgpu};

const GRADIENTS: &str = "
    @group(0) @binding(0) var<storage, read> critic: vec2<f32>; // a, b
    @group(0) @binding(1) var<storage, read> generator: vec2<f32>; // mean, spread
    @group(0) @binding(2) var<storage, read> samples: array<vec2<f32>>; // noise, data
    @group(0) @binding(3) var<storage, read_write> grad: vec2<f32>;

    @compute @workgroup_size(1) fn critic_gradient() {
        var sum = vec2<f32>();
        for (var i = 0u; i < arrayLength(&samples); i++) {
            let made = generator.x + generator.y * samples[i].x;
            let real = samples[i].y;
            sum += vec2<f32>(real - made, real * real - made * made);
        }
        grad = sum / f32(arrayLength(&samples)) - critic;
    }

    @compute @workgroup_size(1) fn generator_gradient() {
        var sum = vec2<f32>();
        for (var i = 0u; i < arrayLength(&samples); i++) {
            let noise = samples[i].x;
            let made = generator.x + generator.y * noise;
            sum -= (critic.x + 2.0 * critic.y * made) * vec2<f32>(1.0, noise);
        }
        grad = sum / f32(arrayLength(&samples));
    }";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    pollster::block_on(train())
}

async fn train() -> Result<(), Box<dyn std::error::Error>> {
    let adapter = wgpu::Instance::default().request_adapter(&Default::default()).await?;
    let descriptor = wgpu::DeviceDescriptor { required_limits: WgpuAdam::required_limits(), ..Default::default() };
    let (device, queue) = adapter.request_device(&descriptor).await?;

    // Each model has an arena and an optimizer of its own, with options of its own. The label is what a GPU debugger shows.
    let begun = Instant::now();
    let critic = TensorArena::new(&device, [("critic", [2])])?;
    let config = AdamConfig { lr: 0.02, betas: (0.5, 0.9), maximize: true, ..Default::default() };
    let mut critic_adam = WgpuAdam::with_label(&device, &queue, critic.params(), config, "critic")?;
    let first = begun.elapsed();

    // The second optimizer compiles nothing: optimizers on one device share their pipelines.
    let begun = Instant::now();
    let generator = TensorArena::new(&device, [("generator", [2])])?;
    generator.write_param(&queue, "generator", &[0.0, 1.5])?;
    let config = AdamConfig { lr: 0.01, betas: (0.5, 0.9), ..Default::default() };
    let mut generator_adam = WgpuAdam::with_label(&device, &queue, generator.params(), config, "generator")?;
    println!("made the first optimizer in {first:.1?}, the second in {:.1?}", begun.elapsed());

    // 512 numbers of noise and as many of data. The sum of twelve even random numbers less 6 is nearly normal.
    let mut random = 1_u32;
    let mut normal = || {
        let mut even = || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 8) as f32 / 16_777_216.0
        };
        (0..12).map(|_| even()).sum::<f32>() - 6.0
    };
    let samples: Vec<[f32; 2]> = (0..512).map(|_| [normal(), 2.0 + 0.5 * normal()]).collect();
    let samples = device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
        label: Some("samples"),
        contents: bytemuck::cast_slice(&samples),
        usage: wgpu::BufferUsages::STORAGE,
    });

    let source = wgpu::ShaderSource::Wgsl(GRADIENTS.into());
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some("gradients"), source });
    let (critic_param, generator_param) = (critic.param("critic")?, generator.param("generator")?);
    let pass = |entry_point, grad| {
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(entry_point),
            layout: None,
            module: &module,
            entry_point: Some(entry_point),
            compilation_options: Default::default(),
            cache: None,
        });
        let bind = |binding, buffer| wgpu::BindGroupEntry { binding, resource: wgpu::BindingResource::Buffer(buffer) };
        let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(entry_point),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[
                bind(0, critic_param.clone()),
                bind(1, generator_param.clone()),
                bind(2, samples.as_entire_buffer_binding()),
                bind(3, grad),
            ],
        });
        (pipeline, bind_group)
    };
    let critic_pass = pass("critic_gradient", critic.grad("critic")?);
    let generator_pass = pass("generator_gradient", generator.grad("generator")?);
    let dispatch = |encoder: &mut wgpu::CommandEncoder,
                    (pipeline, bind_group): &(wgpu::ComputePipeline, wgpu::BindGroup)| {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, bind_group, &[]);
        pass.dispatch_workgroups(1, 1, 1);
    };

    // Each model's gradient sees the other's newest step: what is recorded first is done first, within one submit.
    for round in 0..1500 {
        let slower = 0.998_f64.powi(round);
        critic_adam.scale_lr(slower)?;
        generator_adam.scale_lr(slower)?;
        let mut encoder = device.create_command_encoder(&Default::default());
        dispatch(&mut encoder, &critic_pass);
        critic_adam.record_step(&mut encoder)?;
        dispatch(&mut encoder, &generator_pass);
        generator_adam.record_step(&mut encoder)?;
        queue.submit([encoder.finish()]);
    }

    let made = generator.read_param(&queue, "generator").await?;
    let score = critic.read_param(&queue, "critic").await?;
    println!("the generator's mean is {:.3} and its spread {:.3}; the data's are about 2 and 0.5", made[0], made[1]);
    println!("the critic's score is {:.4} x + {:.4} x^2: it tells them apart no more", score[0], score[1]);
    assert!((made[0] - 2.0).abs() < 0.1 && (made[1] - 0.5).abs() < 0.1, "the generator did not learn the data");
    assert!(score.iter().all(|weight| weight.abs() < 0.05), "the critic still tells them apart");
    Ok(())
}
