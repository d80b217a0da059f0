//! Mistakes only on devices with small limits.

use anyhow::{Context, Result, ensure};
use wgpu_adam::{AdamConfig, Error, GradientControl, LossScale, Moments, Param, ParamGroup, TensorArena, WgpuAdam};

use super::{Case, Row, row, run, subject::C};
use crate::{
    Gpu,
    readback::read_tensor,
    twin::{Twin, TwinTensor, same_bits, storage},
};

/// Bytes of a binding, and the distance in elements from a parameter to a gradient that is 4 bytes too far away: one
/// binding must contain a quad of both, wherever the binding may begin.
const BINDING: u64 = 1024;

pub(super) async fn bindings(gpu: &Gpu) -> Result<()> {
    let limits = wgpu::Limits {
        max_storage_buffer_binding_size: BINDING,
        max_buffer_size: 1 << 20,
        ..wgpu::Limits::downlevel_defaults()
    };
    let small = gpu.small(limits).await?;
    run(&small, rows()).await?;
    small.check_errors()
}

/// The nearest gradient that is too far away, in elements.
fn too_far(case: &Case<'_>) -> u64 {
    let alignment = u64::from(case.gpu.device.limits().min_storage_buffer_offset_alignment).max(256);
    (BINDING - alignment - 16) / 4 + 1
}

fn far(case: &Case<'_>) -> Param {
    Param::new("far", [50], case.pool(300), case.pool(300 + too_far(case)))
}

fn rows() -> Vec<Row> {
    let text = "parameter \"far\" and its gradient lie in one buffer, and a binding of both takes 1028 bytes, where the \
                device allows 1024";
    vec![
        row!(
            "a gradient too far away, in the constructor",
            |c| WgpuAdam::new(&c.gpu.device, &c.gpu.queue, [far(c)], AdamConfig::default()).map(drop),
            Error::GradientTooFar { bytes: 1028, allowed: BINDING, .. },
            text
        ),
        row!(
            "a gradient too far away, in an added group",
            |c| {
                let group = ParamGroup::new([far(c)]);
                c.subject.adam.add_param_group(group).map(drop)
            },
            Error::GradientTooFar { .. },
            text
        ),
        row!(
            "a gradient too far away, in a replacement",
            |c| {
                let (id, far) = (c.id("c"), far(c));
                c.subject.adam.record_replace_param(c.encoder, id, far, Moments::Keep)
            },
            Error::GradientTooFar { .. },
            text
        ),
        row!(
            "a gradient too far away, given",
            |c| {
                let (id, grad) = (c.id("d"), c.pool(3 + too_far(c)));
                c.subject.adam.set_grad(id, grad)
            },
            Error::GradientTooFar { .. },
            "parameter \"d\" and its gradient lie in one buffer, and a binding of both takes 1028 bytes"
        ),
        row!(
            "an arena larger than a buffer",
            |c| TensorArena::new(&c.gpu.device, [("w", [1 << 17, 3])]).map(drop),
            Error::DeviceLimit { limit: "max_buffer_size", needed: 1_572_864, allowed: 1_048_576, .. },
            "the arena needs max_buffer_size >= 1572864, but the device allows 1048576; request it in request_device, \
             or divide the tensors among several arenas"
        ),
        row!(
            "a gradient larger than its buffer, where bindings are smaller still",
            |c| {
                let (id, grad) = (c.id("c"), c.buffer(C * 4 - 4));
                c.subject.adam.set_grad(id, &grad)
            },
            Error::BufferTooSmall { .. },
            "gradient of \"c\" has 33 f32 elements"
        ),
    ]
}

/// A limit, and a change that puts it below the required minimum.
type Below = (&'static str, fn(&mut wgpu::Limits));

const TOO_SMALL: [Below; 11] = [
    ("max_bind_groups", |limits| limits.max_bind_groups = 2),
    ("max_bindings_per_bind_group", |limits| limits.max_bindings_per_bind_group = 2),
    ("max_dynamic_uniform_buffers_per_pipeline_layout", |limits| {
        limits.max_dynamic_uniform_buffers_per_pipeline_layout = 1;
    }),
    ("max_dynamic_storage_buffers_per_pipeline_layout", |limits| {
        limits.max_dynamic_storage_buffers_per_pipeline_layout = 0;
    }),
    ("max_storage_buffers_per_shader_stage", |limits| limits.max_storage_buffers_per_shader_stage = 3),
    ("max_uniform_buffers_per_shader_stage", |limits| limits.max_uniform_buffers_per_shader_stage = 1),
    ("max_uniform_buffer_binding_size", |limits| limits.max_uniform_buffer_binding_size = 8 << 10),
    ("max_storage_buffer_binding_size", |limits| limits.max_storage_buffer_binding_size = 512),
    ("max_buffer_size", |limits| limits.max_buffer_size = 16 << 10),
    ("max_compute_invocations_per_workgroup", |limits| limits.max_compute_invocations_per_workgroup = 16),
    ("max_compute_workgroup_size_x", |limits| limits.max_compute_workgroup_size_x = 16),
];

pub(super) async fn devices(gpu: &Gpu) -> Result<()> {
    for (name, lower) in TOO_SMALL {
        let mut limits = wgpu::Limits::downlevel_defaults();
        lower(&mut limits);
        let small = gpu.small(limits).await.context(name)?;
        let param = Param::new("w", [4], &storage(&small, 16), &storage(&small, 16));
        let error = WgpuAdam::new(&small.device, &small.queue, [param], AdamConfig::default()).err();
        let error = error.with_context(|| format!("{name}: accepted"))?;
        log::info!("{name}: {error}");
        let named = matches!(&error, Error::DeviceLimit { limit, .. } if *limit == name);
        ensure!(named && error.to_string().contains(name), "{name}: {error:?}");
        small.check_errors().context(name)?;
    }
    Ok(())
}

/// A control that needs a larger device is refused at once: the current control stays, and so does everything else.
pub(super) async fn controls(gpu: &Gpu) -> Result<()> {
    let limits = wgpu::Limits { max_buffer_size: 8 << 20, ..crate::placing::small_workgroups(64 << 10) };
    let small = gpu.small(limits).await?;
    let found_inf = storage(&small, 4);
    let (skip, none) = (GradientControl { skip_nonfinite: true, ..Default::default() }, GradientControl::default());
    let clip = GradientControl { max_norm: Some(1.0), ..none };
    let dynamic = GradientControl { loss_scale: LossScale::dynamic(), ..none };
    type Set<'a> = &'a dyn Fn(&mut WgpuAdam) -> Result<(), Error>;
    let refused: [(&str, Set<'_>); 4] = [
        ("skipping", &|adam| adam.set_gradient_control(skip)),
        ("clipping by norm", &|adam| adam.set_gradient_control(clip)),
        ("a dynamic scale", &|adam| adam.set_gradient_control(dynamic)),
        ("clipping and skipping, recorded", &|adam| {
            let mut encoder = small.device.create_command_encoder(&Default::default());
            adam.record_gradient_control(&mut encoder, GradientControl { max_norm: Some(1.0), ..skip })
        }),
    ];
    let run = async |set: Option<Set<'_>>, case: &str| -> Result<Vec<f32>> {
        let mut twin = Twin::new(&small, vec![TwinTensor::alone(&small, "large", 1_000_000)], AdamConfig::default())?;
        for step in 0..3 {
            if let Some(set) = set {
                let error = set(&mut twin.adam).err().with_context(|| format!("{case}: it was accepted"))?;
                ensure!(matches!(error, Error::DeviceLimit { .. }), "{case}: {error}");
                ensure!(*twin.adam.gradient_control() == none, "{case}: it was set");
                ensure!(twin.adam.loss_scale_buffer().is_none(), "{case}: its buffers were kept");
                twin.adam.set_gradient_control(none).with_context(|| format!("{case}: withdrawn"))?;
            }
            if step == 1 {
                let late = TwinTensor::alone(&small, "late", 99);
                twin.adam.add_param_group(ParamGroup::new([late.as_param()])).with_context(|| case.to_owned())?;
                twin.tensors.push(late);
            }
            if step == 2 {
                let dict = twin.adam.state_dict().await?;
                twin.adam.load_state_dict(&dict).await.with_context(|| case.to_owned())?;
            }
            twin.step().with_context(|| format!("{case}: step {step}"))?;
        }
        read_tensor(&small, &twin.tensors[0].param, 1_000_000).await
    };
    let want = run(None, "without").await?;
    for (case, set) in refused {
        same_bits(case, &run(Some(set), case).await?, &want)?;
    }
    // A control that measures nothing fits: a found_inf from outside. Adding a group for which it would no longer fit
    // is refused.
    let mut twin = Twin::new(&small, vec![TwinTensor::alone(&small, "small", 99)], AdamConfig::default())?;
    twin.adam.set_found_inf((&found_inf, 0))?;
    twin.adam.set_gradient_control(skip)?;
    twin.step()?;
    let large = TwinTensor::alone(&small, "large", 1_000_000);
    let error = twin.adam.add_param_group(ParamGroup::new([large.as_param()])).err().context("a group too large")?;
    ensure!(matches!(error, Error::DeviceLimit { .. }), "a group too large: {error}");
    twin.step()?;
    // After the remedy in the message, the group fits.
    twin.adam.set_gradient_control(none)?;
    twin.adam.add_param_group(ParamGroup::new([large.as_param()]))?;
    twin.tensors.push(large);
    twin.step()?;
    twin.counted_by_device = true;
    twin.check("a group that fits without skipping").await?;
    small.check_errors()
}
