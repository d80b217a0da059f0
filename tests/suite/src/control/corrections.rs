//! Bias corrections that the device computes, because only the device knows how many steps were skipped.

use anyhow::{Result, ensure};
use wgpu_adam::GradientControl;

use super::rig::Rig;
use crate::{
    Gpu,
    fixed_point::{fraction, one_minus_power},
    readback::Span,
    readback::read_all,
    stats::ulp,
    twin::{compare, storage},
};

/// At the last, 1 - 2^-36, the first steps have 1 - beta^t below 2^-32: all of its upper word is zero.
const BETAS: [f64; 10] = [0.0, 0.1, 0.5, 0.9, 0.95, 0.99, 0.999, 0.9999, 0.99999, 1.0 - 1.0 / (1_u64 << 36) as f64];
/// Tests all steps up to this one, then one in `STRIDE`, an odd number, so that it meets all residues of powers of two.
const EVERY: u32 = 1 << 16;
const STRIDE: u32 = 61;
const LAST: u32 = 10_000_000;
/// Steps per dispatch: as many workgroups of 64 as every device allows.
const CHUNK: u32 = 1 << 18;

const HARNESS: &str = "
    struct Job { beta: vec2<u32>, count: u32, padding: u32 }
    @group(0) @binding(0) var<uniform> job: Job;
    @group(0) @binding(1) var<storage, read> steps: array<u32>;
    @group(0) @binding(2) var<storage, read_write> results: array<f32>;
    @compute @workgroup_size(64) fn harness(@builtin(global_invocation_id) id: vec3<u32>) {
        if (id.x < job.count) {
            results[id.x] = one_minus_power(job.beta, steps[id.x]);
        }
    }";

/// Within one ULP of the host's f64 result, and bit for bit the host's fixed-point result: at 1, 2, 3 and so on, later
/// at one step in 61, and around powers of two and ten.
pub async fn on_the_device(gpu: &Gpu) -> Result<()> {
    let mut steps: Vec<u32> = (1..=EVERY).chain((EVERY..=LAST).step_by(STRIDE as usize)).collect();
    let powers = (17..24).map(|power| 1_u32 << power).chain([100_000, 1_000_000, LAST - 2]);
    steps.extend(powers.flat_map(|power| power - 2..=power + 2));
    let source = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shaders/bias_correction.wgsl"));
    let module = gpu.device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("bias corrections"),
        source: wgpu::ShaderSource::Wgsl(format!("{source}{HARNESS}").into()),
    });
    let pipeline = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("bias corrections"),
        layout: None,
        module: &module,
        entry_point: None,
        compilation_options: Default::default(),
        cache: None,
    });
    let (mut worst, mut where_worst) = (0.0, String::new());
    for beta in BETAS {
        for steps in steps.chunks(CHUNK as usize) {
            let got = run(gpu, &pipeline, beta, steps).await?;
            for (&t, got) in steps.iter().zip(got) {
                // 1 - beta^t without the digits that a difference of nearly equal numbers loses.
                let want = -(f64::from(t) * (beta - 1.0).ln_1p()).exp_m1();
                let emulated = one_minus_power(beta, t);
                ensure!(
                    got.to_bits() == emulated.to_bits(),
                    "beta {beta}, step {t}: {got:e}, on the host {emulated:e}"
                );
                let off = (f64::from(got) - want).abs() / ulp(want);
                if off.is_nan() || off > worst {
                    (worst, where_worst) = (off, format!("beta {beta}, step {t}: {got:e} instead of {want:e}"));
                }
            }
        }
    }
    log::info!("bias corrections: {worst:.2} ULP at worst, {where_worst}");
    ensure!(worst <= 1.0, "{where_worst}: {worst:.2} ULP");
    Ok(())
}

async fn run(gpu: &Gpu, pipeline: &wgpu::ComputePipeline, beta: f64, steps: &[u32]) -> Result<Vec<f32>> {
    let bytes = 4 * steps.len() as u64;
    let (input, output) = (storage(gpu, bytes), storage(gpu, bytes));
    gpu.queue.write_buffer(&input, 0, bytemuck::cast_slice(steps));
    let job = gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("job"),
        size: 16,
        usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let fraction = fraction(beta);
    let words = [fraction as u32, (fraction >> 32) as u32, steps.len() as u32, 0];
    gpu.queue.write_buffer(&job, 0, bytemuck::cast_slice(&words));
    let entries: Vec<_> = (0..)
        .zip([&job, &input, &output])
        .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
        .collect();
    let bindings = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("bias corrections"),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &entries,
    });
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    let mut pass = encoder.begin_compute_pass(&Default::default());
    pass.set_pipeline(pipeline);
    pass.set_bind_group(0, &bindings, &[]);
    pass.dispatch_workgroups((steps.len() as u32).div_ceil(64), 1, 1);
    drop(pass);
    gpu.queue.submit([encoder.finish()]);
    let span = Span { buffer: output, offset: 0, elements: steps.len() as u64 };
    Ok(read_all(gpu, &[vec![span]]).await?.remove(0))
}

/// A step at a high count, which was loaded, beside one whose bias corrections the host computes.
pub async fn late_steps(gpu: &Gpu) -> Result<()> {
    let counting = GradientControl { skip_nonfinite: true, ..Default::default() };
    for (number, t) in [1_u64, 2, 9, 1000, 99_999, 9_999_999, (1 << 24) + 1, (1 << 32) + 5].into_iter().enumerate() {
        for beta2 in [0.0, 0.95, 0.999, 0.99999] {
            let mut moved = Vec::new();
            for control in [GradientControl::default(), counting] {
                let mut rig = Rig::in_arena(gpu, &[66], control)?;
                rig.adam.set_betas(0, (0.9, beta2))?;
                rig.write_grads(number as u64, 1.0);
                rig.adam.step()?;
                let mut dict = rig.adam.state_dict().await?;
                for entry in dict.state.values_mut() {
                    entry.step = t;
                }
                rig.adam.load_state_dict(&dict).await?;
                rig.poke_grad(0, 5, f32::NAN);
                if control == counting {
                    rig.adam.step()?;
                }
                rig.write_grads(20 + number as u64, 1.0);
                rig.adam.step()?;
                let dict = rig.adam.state_dict().await?;
                let steps: Vec<u64> = dict.state.values().map(|entry| entry.step).collect();
                ensure!(steps == [t + 1], "step {steps:?} instead of {}", t + 1);
                moved.push(rig.bits().await?.param("a0")?);
            }
            let want: Vec<f64> = moved[0].iter().copied().map(f64::from).collect();
            compare(&format!("step {t} + 1, beta2 {beta2}"), &moved[1], &want, |_, want| {
                // The step size has two more roundings, eps one: a few ULPs of the distance that a step moves.
                ulp(want) + 4.0 * f64::from(f32::EPSILON) * 0.05
            })?;
        }
    }
    Ok(())
}
