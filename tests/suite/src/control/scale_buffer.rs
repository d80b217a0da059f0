//! A backward pass that reads the loss scale from its buffer, and overflows as f16 would.

use anyhow::{Context, Result, ensure};
use wgpu_adam::{GradientControl, LossScale};

use super::rig::Rig;
use crate::{Gpu, twin::storage, values::values};

/// Multiplies by the scale, as a backward pass would. `base` ends in an infinity, because WGSL has no literal for it.
const BACKWARD: &str = "
    @group(0) @binding(0) var<ACCESS> scale: f32;
    @group(0) @binding(1) var<storage, read> base: array<f32>;
    @group(0) @binding(2) var<storage, read_write> grad: array<f32>;
    @compute @workgroup_size(64) fn backward(@builtin(global_invocation_id) id: vec3<u32>) {
        let count = arrayLength(&grad);
        if (id.x < count) {
            let scaled = base[id.x] * scale;
            grad[id.x] = select(scaled, base[count], abs(scaled) > 65504.0);
        }
    }";

const LENGTH: u64 = 100;
const STEPS: u32 = 60;
const INTERVAL: u32 = 5;

/// 60 steps in one encoder: the scale comes down from a value where everything overflows, and then moves up and down.
pub async fn backward(gpu: &Gpu, access: &str) -> Result<()> {
    let init = f32::from_bits(0x4d80_0000); // 2^28
    let control = GradientControl {
        loss_scale: LossScale::Dynamic {
            init_scale: init.into(),
            growth_factor: 2.0,
            backoff_factor: 0.5,
            growth_interval: INTERVAL,
        },
        ..Default::default()
    };
    let mut rig = Rig::alone(gpu, &[LENGTH], control)?;
    let mut base = values(8, LENGTH);
    let largest = base.iter().fold(0.0, |largest: f32, x| largest.max(x.abs()));
    rig.tensors[0].grad_values = Some(base.clone());
    base.push(f32::INFINITY);
    let buffer = storage(gpu, (LENGTH + 1) * 4);
    gpu.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(&base));

    let module = gpu.device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("backward"),
        source: wgpu::ShaderSource::Wgsl(BACKWARD.replace("ACCESS", access).into()),
    });
    let pipeline = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("backward"),
        layout: None,
        module: &module,
        entry_point: None,
        compilation_options: Default::default(),
        cache: None,
    });
    let scale = rig.adam.loss_scale_buffer().context("no buffer of the loss scale")?.clone();
    let buffers = [&scale, &buffer, rig.tensors[0].grad.buffer()];
    let entries: Vec<_> = (0..)
        .zip(buffers)
        .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
        .collect();
    let bindings = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("backward"),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &entries,
    });

    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    let (mut scale, mut tracker, mut taken) = (init, 0, 0);
    for _ in 0..STEPS {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &bindings, &[]);
        pass.dispatch_workgroups(2, 1, 1);
        drop(pass);
        rig.adam.record_step(&mut encoder)?;
        if largest * scale > 65504.0 {
            (scale, tracker) = (scale * 0.5, 0);
        } else {
            // Scaling by a power of two and back is exact.
            rig.took(|grad| grad)?;
            (taken, tracker) = (taken + 1, tracker + 1);
            if tracker == INTERVAL {
                (scale, tracker) = (scale * 2.0, 0);
            }
        }
    }
    gpu.queue.submit([encoder.finish()]);
    let told = rig.adam.statistics().await?;
    ensure!((20..50).contains(&taken), "{taken} steps taken: the test tests little");
    ensure!(told.steps_taken == taken && told.steps_skipped == u64::from(STEPS) - taken, "{taken} taken, {told:?}");
    ensure!(told.loss_scale == scale && told.growth_tracker == tracker, "{scale} and {tracker}, {told:?}");
    rig.check("after 60 steps").await
}
