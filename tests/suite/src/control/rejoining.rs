//! Tensors that took part in different steps share a run again, once the device has reported which of these steps were
//! skipped.

use anyhow::{Context, Result, ensure};
use wgpu_adam::GradientControl;

use super::rig::Rig;
use crate::Gpu;

const SKIP: GradientControl = GradientControl {
    max_norm: None,
    norm_type: wgpu_adam::NormType::Two,
    measure_norm: false,
    clip_value: None,
    skip_nonfinite: true,
    loss_scale: wgpu_adam::LossScale::None,
    accumulate: 1,
    zero_grad_after_step: false,
};

/// A step of some tensors, taken or skipped.
type Round = (&'static [&'static str], bool);

const BOTH: &[&str] = &["a0", "a1"];

/// Two neighbours, each long enough for a separate dispatch if they do not share a run. Each case ends with steps of
/// both, of which the host has received some answers, and expects a number of dispatches.
pub async fn neighbours(gpu: &Gpu) -> Result<()> {
    let cases: [(&str, &[Round], usize); 8] = [
        ("together all the time", &[(BOTH, false), (BOTH, true), (BOTH, false)], 1),
        ("apart, nothing skipped", &[(&["a0"], false), (&["a1"], false)], 1),
        ("apart, both skipped", &[(&["a0"], true), (&["a1"], true)], 1),
        ("apart, one skipped", &[(&["a0"], true), (&["a1"], false)], 2),
        ("apart, then as many skipped", &[(&["a0"], true), (&["a1"], false), (&["a1"], true), (&["a0"], false)], 1),
        ("apart again and again", &[(&["a0"], false), (&["a1"], false), (&["a0"], false), (&["a1"], false)], 1),
        ("a step of both skipped between", &[(&["a0"], false), (BOTH, true), (&["a1"], false)], 1),
        ("one step more", &[(&["a0"], false), (BOTH, false)], 2),
    ];
    for (case, rounds, want) in cases {
        for waits in [true, false] {
            let case = format!("{case}, the host {}", if waits { "waits after each step" } else { "waits at the end" });
            let mut rig = Rig::in_arena(gpu, &[1 << 18, 1 << 18], SKIP)?;
            let mut round = 0;
            for &(present, skipped) in rounds {
                for name in BOTH {
                    rig.set_grad(name, present.contains(name))?;
                }
                step(&mut rig, &mut round, skipped.then_some(present[0]))?;
                if waits {
                    rig.adam.statistics().await?;
                }
            }
            for name in BOTH {
                rig.set_grad(name, true)?;
            }
            for _ in 0..4 {
                step(&mut rig, &mut round, None)?;
                rig.adam.statistics().await?;
            }
            let got = rig.adam.dispatch_count();
            ensure!(got == want, "{case}: {got} dispatches instead of {want}");
            step(&mut rig, &mut round, Some("a1"))?;
            step(&mut rig, &mut round, None)?;
            rig.check(&case).await?;
        }
    }
    Ok(())
}

fn step(rig: &mut Rig<'_>, round: &mut u64, skipped: Option<&str>) -> Result<()> {
    *round += 1;
    rig.write_grads(*round, 1.0);
    if let Some(name) = skipped {
        rig.poke_grad(rig.index(name)?, 0, f32::NAN);
    }
    rig.adam.step()?;
    if skipped.is_none() {
        rig.took(|grad| grad)?;
    }
    Ok(())
}

/// Many tensors miss steps at random, some steps are skipped, encoders are dropped, tensors are reset, added and
/// removed, and the host rarely reads.
pub async fn random(gpu: &Gpu) -> Result<()> {
    let mut rig = Rig::in_arena(gpu, &[3; 40], SKIP)?;
    let mut round = 0;
    for number in 0..60_u64 {
        for tensor in 0..rig.tensors.len() {
            let name = rig.tensors[tensor].name.clone();
            let present =
                number >= 40 || !(number * 31 + tensor as u64 * 17 + number * tensor as u64).is_multiple_of(3);
            rig.set_grad(&name, present)?;
        }
        let present = rig.tensors.iter().find(|tensor| tensor.grad_values.is_some()).context("nothing steps")?;
        let present = present.name.clone();
        step(&mut rig, &mut round, (number % 4 == 1).then_some(present.as_str()))?;
        match number {
            20 => {
                let id = rig.id("a7")?;
                let mut encoder = gpu.device.create_command_encoder(&Default::default());
                rig.adam.record_reset_state(&mut encoder, id)?;
                gpu.queue.submit([encoder.finish()]);
                let index = rig.index("a7")?;
                let kept = rig.tensors[index].reference.param.clone();
                rig.tensors[index].reference =
                    crate::reference::Reference { param: kept, ..crate::reference::Reference::new(&[0.0; 3]) };
            }
            25 => rig.add(crate::twin::TwinTensor::alone(gpu, "added", 30))?,
            28 => {
                let id = rig.id("a9")?;
                rig.adam.remove_param(id)?;
                let index = rig.index("a9")?;
                rig.forget(index);
            }
            30 => {
                let dict = rig.adam.state_dict().await?;
                rig.adam.load_state_dict(&dict).await?;
            }
            _ => {}
        }
        if number % 7 == 0 {
            rig.adam.statistics().await?;
        }
    }
    rig.check("at the end").await
}

/// A question in a dropped encoder is asked again.
pub async fn dropped(gpu: &Gpu) -> Result<()> {
    let mut rig = Rig::in_arena(gpu, &[1 << 18, 1 << 18], SKIP)?;
    for name in BOTH {
        rig.set_grad("a0", *name == "a0")?;
        rig.set_grad("a1", *name == "a1")?;
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        rig.adam.record_step(&mut encoder)?;
        drop(encoder);
    }
    for name in BOTH {
        rig.set_grad(name, true)?;
    }
    for round in 0..4 {
        rig.write_grads(round, 1.0);
        rig.adam.step()?;
        rig.adam.statistics().await?;
    }
    let got = rig.adam.dispatch_count();
    ensure!(got == 1, "{got} dispatches after dropped questions");
    Ok(())
}
