//! Calls that look like mistakes and are legal.

use anyhow::{Context, Result, ensure};
use wgpu_adam::{AdamConfig, GradientControl, LossScale, Moments, Param, ParamGroup, StateDict, WgpuAdam, ZeroGrad};

use super::subject::Subject;
use crate::{
    Gpu,
    readback::read_f32,
    twin::{same_bits, storage},
    values::values,
};

fn param(gpu: &Gpu, name: &str, length: usize) -> Param {
    let buffer = || storage(gpu, length as u64 * 4);
    Param::new(name, [length], &buffer(), &buffer())
}

/// Tensors without elements, groups without parameters, optimizers without anything to do.
pub(super) async fn empty(gpu: &Gpu) -> Result<()> {
    let cases: [(&str, Vec<ParamGroup>); 4] = [
        ("a group without parameters", vec![ParamGroup::new([])]),
        ("a tensor without elements", vec![ParamGroup::new([param(gpu, "none", 0)]).amsgrad(true)]),
        ("among others", vec![ParamGroup::new([]), ParamGroup::new([param(gpu, "none", 0), param(gpu, "some", 3)])]),
        ("at the very end of a buffer", {
            let (buffer, grad) = (storage(gpu, 40), storage(gpu, 40));
            vec![ParamGroup::new([Param::new("none", [3, 0], (&buffer, 40), (&grad, 40))])]
        }),
    ];
    for (case, groups) in cases {
        let make = |groups| WgpuAdam::new(&gpu.device, &gpu.queue, groups, AdamConfig::default());
        let mut adam = make(groups.clone()).context(case)?;
        for steps in 1..=3 {
            let mut encoder = gpu.device.create_command_encoder(&Default::default());
            adam.record_zero_grad(&mut encoder, ZeroGrad::Fill).context(case)?;
            adam.record_step(&mut encoder).context(case)?;
            gpu.queue.submit([encoder.finish()]);
            for id in adam.param_groups().iter().flat_map(|group| group.params().to_vec()) {
                ensure!(adam.param(id)?.step == steps, "{case}: {:?} does not count its steps", adam.param(id)?.name);
            }
        }
        let dict = adam.state_dict().await.context(case)?;
        let mut other = make(groups).context(case)?;
        other.load_state_dict(&dict).await.with_context(|| format!("{case}: its own state dict"))?;
        ensure!(other.state_dict().await.context(case)? == dict, "{case}: the state dict came back changed");
        if let Some(id) = adam.find("none") {
            let mut encoder = gpu.device.create_command_encoder(&Default::default());
            adam.record_reset_state(&mut encoder, id).context(case)?;
            adam.record_replace_param(&mut encoder, id, param(gpu, "none", 5), Moments::Keep).context(case)?;
            adam.record_step(&mut encoder).context(case)?;
            adam.record_replace_param(&mut encoder, id, param(gpu, "none", 0), Moments::Keep).context(case)?;
            adam.record_step(&mut encoder).context(case)?;
            gpu.queue.submit([encoder.finish()]);
            ensure!(adam.param(id)?.step == 2, "{case}: {} steps", adam.param(id)?.step);
        }
        // Everything is removed.
        for id in adam.param_groups().iter().flat_map(|group| group.params().to_vec()).collect::<Vec<_>>() {
            adam.remove_param(id).context(case)?;
        }
        adam.step().context(case)?;
        ensure!(adam.state_dict().await.context(case)?.state.is_empty(), "{case}: state of nobody");
        gpu.check_errors().context(case)?;
    }
    Ok(())
}

pub(super) async fn unusual(gpu: &Gpu) -> Result<()> {
    let mut adam = shared_gradients(gpu).await?;
    let config = *adam.param_groups()[0].config();
    adam.set_amsgrad(0, false).context("amsgrad that is off, off")?;
    adam.set_lr(0, 0.0).context("lr 0")?;
    adam.set_eps(0, 0.0).context("eps 0")?;
    adam.set_betas(0, (0.0, 0.0)).context("betas 0")?;
    adam.set_weight_decay(0, f64::from(f32::MAX)).context("the largest weight_decay")?;
    let largest = LossScale::Fixed((1_u128 << 120) as f64);
    let control = GradientControl { loss_scale: largest, accumulate: 64, ..Default::default() };
    adam.set_gradient_control(control).context("the largest divisor")?;
    adam.set_gradient_control(GradientControl::default())?;
    adam.step()?;
    ensure!(config == AdamConfig { lr: 0.5, ..Default::default() }, "the lent group has changed");
    for id in adam.param_groups()[0].params().to_vec() {
        adam.set_grad_to_none(id).context("a gradient taken away")?;
        adam.set_grad_to_none(id).context("no gradient taken away")?;
    }
    adam.step().context("no gradients at all")?;

    let mut subject = Subject::new(gpu)?;
    subject.adam.step()?;
    let before = subject.adam.state_dict().await?;
    // A prefix that all names share makes no difference; without names, parameters match by position.
    type Change = fn(&mut StateDict);
    let changes: [(&str, Change); 3] = [
        ("its own", |_| {}),
        ("a prefix", |dict| {
            for names in dict.param_groups.iter_mut().filter_map(|group| group.param_names.as_mut()) {
                names.iter_mut().for_each(|name| name.insert_str(0, "module."));
            }
        }),
        ("no names", |dict| dict.param_groups.iter_mut().for_each(|group| group.param_names = None)),
    ];
    for (case, change) in changes {
        let mut dict = before.clone();
        change(&mut dict);
        subject.adam.load_state_dict(&dict).await.context(case)?;
        ensure!(subject.adam.state_dict().await? == before, "a state dict with {case} loaded as another");
    }
    Ok(())
}

/// Gradients are only read: two parameters may share one.
async fn shared_gradients(gpu: &Gpu) -> Result<WgpuAdam> {
    let (one, two, grad) = (storage(gpu, 28), storage(gpu, 28), storage(gpu, 28));
    for (list, buffer) in [(1, &one), (1, &two), (2, &grad)] {
        gpu.queue.write_buffer(buffer, 0, bytemuck::cast_slice(&values(list, 7)));
    }
    let params = [Param::new("one", [7], &one, &grad), Param::new("two", [7], &two, &grad)];
    let mut adam = WgpuAdam::new(&gpu.device, &gpu.queue, params, AdamConfig { lr: 0.5, ..Default::default() })?;
    adam.step()?;
    let (one, two) = (read_f32(gpu, &one, 0, 7).await?, read_f32(gpu, &two, 0, 7).await?);
    ensure!(one != values(1, 7), "a step on a shared gradient did nothing");
    same_bits("parameters that share a gradient", &one, &two)?;
    Ok(adam)
}
