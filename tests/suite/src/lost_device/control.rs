//! The device is lost under gradient control: when control is set and changed, when it decides, when it is read.

use wgpu_adam::{CheckpointContents, Error, GradientControl, LossScale, ParamGroup, TensorArena};

use super::running::{
    Expect::{Either, Fine, Refused},
    Point, Running, buffer, made, optimizer, param, points, steady,
};

const CONTROL: GradientControl = GradientControl {
    max_norm: Some(1.0),
    norm_type: wgpu_adam::NormType::Two,
    measure_norm: false,
    clip_value: None,
    skip_nonfinite: false,
    loss_scale: LossScale::Dynamic { init_scale: 1024.0, growth_factor: 2.0, backoff_factor: 0.5, growth_interval: 3 },
    accumulate: 1,
    zero_grad_after_step: true,
};
const SKIPPING: GradientControl =
    GradientControl { loss_scale: LossScale::None, skip_nonfinite: true, zero_grad_after_step: false, ..CONTROL };

/// In steady state, with gradients clipped and a dynamic scale.
fn controlled(device: &wgpu::Device, queue: &wgpu::Queue) -> Running {
    let mut running = made(device, queue);
    running.adam.set_gradient_control(CONTROL).unwrap();
    for _ in 0..3 {
        running.adam.step().unwrap();
    }
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    running
}

fn lost(device: &wgpu::Device, queue: &wgpu::Queue) -> Running {
    let mut running = controlled(device, queue);
    running.lose();
    running
}

/// So many tensors that adding one outgrows the buffer of counts.
fn many(device: &wgpu::Device, queue: &wgpu::Queue) -> Running {
    let mut running = controlled(device, queue);
    let arena = TensorArena::new(device, (0..1022).map(|number| (format!("m{number}"), [1]))).unwrap();
    running.adam.add_param_group(ParamGroup::new(arena.params())).unwrap();
    running.adam.step().unwrap();
    running
}

pub const POINTS: &[Point] = points! {
    Refused, "before the first set_gradient_control", |device, queue| {
        let mut running = steady(device, queue);
        running.lose();
        running.adam.set_gradient_control(CONTROL)
    };
    Refused, "before the first set_gradient_control, beside an optimizer whose pipelines it would share", |device, queue| {
        let mut running = controlled(device, queue);
        let mut second = optimizer(device, queue, &running.arena)?;
        running.lose();
        second.set_gradient_control(CONTROL)
    };
    Fine, "between set_gradient_control and the first step", |device, queue| {
        let mut running = made(device, queue);
        running.adam.set_gradient_control(CONTROL)?;
        running.lose();
        running.adam.step().map(drop)
    };
    Fine, "before another norm, and a step", |device, queue| {
        let mut running = lost(device, queue);
        running.adam.set_gradient_control(GradientControl { max_norm: Some(2.0), ..CONTROL })?;
        running.adam.step().map(drop)
    };
    Either, "before another scale, and a step", |device, queue| {
        let mut running = lost(device, queue);
        running.adam.set_gradient_control(GradientControl { loss_scale: LossScale::dynamic(), ..CONTROL })?;
        running.adam.step().map(drop)
    };
    Either, "before no control any more, and a step", |device, queue| {
        let mut running = lost(device, queue);
        running.adam.set_gradient_control(GradientControl::default())?;
        running.adam.step().map(drop)
    };
    Fine, "under control, in steady state", |device, queue| lost(device, queue).adam.step().map(drop);
    Either, "under control, before a hundred steps of their own submits", |device, queue| {
        let mut running = lost(device, queue);
        (0..100).try_for_each(|_| {
            let _ = running.adam.latest_statistics();
            running.adam.step().map(drop)
        })
    };
    Fine, "under control, between recording and submitting", |device, queue| {
        let mut running = controlled(device, queue);
        let mut encoder = running.encoder();
        running.adam.record_step(&mut encoder)?;
        running.lose();
        running.submit(encoder);
        Ok(())
    };
    Fine, "under control, between recording and letting go of the encoder", |device, queue| {
        let mut running = controlled(device, queue);
        let mut encoder = running.encoder();
        running.adam.record_step(&mut encoder)?;
        running.lose();
        drop(encoder.finish());
        let _ = running.adam.latest_statistics();
        Ok(())
    };
    Refused, "under control, before slots grow", |device, queue| {
        let mut running = controlled(device, queue);
        let mut encoder = running.encoder();
        running.lose();
        let recorded = (0..100).try_for_each(|_| running.adam.record_step(&mut encoder));
        running.submit(encoder);
        recorded
    };
    Refused, "under control, before a changed plan", |device, queue| {
        let mut running = lost(device, queue);
        running.adam.set_grad_to_none(running.adam.find("a").unwrap())?;
        running.adam.step().map(drop)
    };
    Refused, "before counts outgrow their buffer", |device, queue| {
        let mut running = many(device, queue);
        let group = ParamGroup::new([param(device, "c")]);
        running.lose();
        running.adam.add_param_group(group).map(drop)
    };
    Refused, "between a group that outgrows the counts and the step that makes larger ones", |device, queue| {
        let mut running = many(device, queue);
        running.adam.add_param_group(ParamGroup::new([param(device, "c")]))?;
        running.lose();
        running.adam.step().map(drop)
    };
    Fine, "before set_found_inf takes back", |device, queue| {
        let mut running = controlled(device, queue);
        let found_inf = buffer(device, wgpu::BufferUsages::COPY_SRC);
        running.adam.set_found_inf((&found_inf, 0))?;
        running.adam.step()?;
        running.lose();
        running.adam.set_found_inf_to_none()?;
        running.adam.step().map(drop)
    };
    Fine, "before set_found_inf, and a step", |device, queue| {
        let mut running = controlled(device, queue);
        let found_inf = buffer(device, wgpu::BufferUsages::COPY_SRC);
        running.lose();
        running.adam.set_found_inf((&found_inf, 0))?;
        running.adam.step().map(drop)
    };
    Either, "before set_found_inf, with a buffer made behind that, and a step", |device, queue| {
        let mut running = lost(device, queue);
        let found_inf = buffer(device, wgpu::BufferUsages::COPY_SRC);
        running.adam.set_found_inf((&found_inf, 0))?;
        running.adam.step().map(drop)
    };
    Refused, "before set_found_inf, where nothing was under control", |device, queue| {
        let mut running = steady(device, queue);
        let found_inf = buffer(device, wgpu::BufferUsages::COPY_SRC);
        running.lose();
        running.adam.set_found_inf((&found_inf, 0))
    };
    Fine, "with a found_inf set", |device, queue| {
        let mut running = controlled(device, queue);
        let found_inf = buffer(device, wgpu::BufferUsages::COPY_SRC);
        running.adam.set_found_inf((&found_inf, 0))?;
        running.adam.step()?;
        running.lose();
        running.adam.step().map(drop)
    };
    Fine, "before latest_statistics", |device, queue| {
        let mut running = lost(device, queue);
        device.poll(wgpu::PollType::Poll).unwrap();
        let _ = running.adam.latest_statistics();
        Ok(())
    };
    Fine, "between a step and latest_statistics", |device, queue| {
        let mut running = controlled(device, queue);
        running.adam.step()?;
        running.lose();
        device.poll(wgpu::PollType::Poll).unwrap();
        let _ = running.adam.latest_statistics();
        running.adam.step().map(drop)
    };
    Refused, "before statistics", |device, queue| lost(device, queue).adam.statistics().await.map(drop);
    Either, "between statistics and its await", |device, queue| {
        let mut running = controlled(device, queue);
        let told = running.adam.statistics();
        running.lose();
        told.await.map(drop)
    };
    Either, "between statistics and its await, with a poll", |device, queue| {
        let mut running = controlled(device, queue);
        let told = running.adam.statistics();
        running.lose();
        device.poll(wgpu::PollType::Poll).unwrap();
        told.await.map(drop)
    };
    Either, "between statistics that have come and their await", |device, queue| {
        let mut running = controlled(device, queue);
        let told = running.adam.statistics();
        device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        running.lose();
        told.await.map(drop)
    };
    Fine, "between statistics and letting go of it", |device, queue| {
        let mut running = controlled(device, queue);
        let told = running.adam.statistics();
        running.lose();
        drop(told);
        Ok(())
    };
    Fine, "before loss_scale_buffer, and a pass that copies it", |device, queue| {
        let running = lost(device, queue);
        let mut encoder = running.encoder();
        let scale = running.adam.loss_scale_buffer().unwrap();
        encoder.copy_buffer_to_buffer(scale, 0, &buffer(device, wgpu::BufferUsages::empty()), 0, Some(4));
        drop(encoder);
        Ok(())
    };
    Refused, "under control, before state_dict", |device, queue| {
        lost(device, queue).adam.state_dict().await.map(drop)
    };
    Either, "under control, between state_dict and its await", |device, queue| {
        let mut running = controlled(device, queue);
        let copy = running.adam.state_dict();
        running.lose();
        copy.await.map(drop)
    };
    Either, "under control, between state_dict and its await, with a poll", |device, queue| {
        let mut running = controlled(device, queue);
        let copy = running.adam.state_dict();
        running.lose();
        device.poll(wgpu::PollType::Poll).unwrap();
        copy.await.map(drop)
    };
    Refused, "under control, before checkpoint_bytes", |device, queue| {
        lost(device, queue).adam.checkpoint_bytes(&CheckpointContents::optimizer_only()).await.map(drop)
    };
    Refused, "under control, before load_state_dict", |device, queue| {
        let mut running = controlled(device, queue);
        let dict = running.adam.state_dict().await?;
        running.lose();
        running.adam.load_state_dict(&dict).await
    };
    Refused, "between load_state_dict and a step under control", |device, queue| {
        let mut running = controlled(device, queue);
        let dict = running.adam.state_dict().await?;
        running.adam.load_state_dict(&dict).await?;
        running.lose();
        running.adam.step().map(drop)
    };
    Refused, "before reset under control, and a step", |device, queue| {
        lost(device, queue).recording(|adam, encoder, _| {
            adam.record_reset_state(encoder, adam.find("a").unwrap())?;
            adam.record_step(encoder)
        })
    };
    Either, "before a control with skipping, from a scale", |device, queue| {
        let mut running = lost(device, queue);
        running.adam.set_gradient_control(SKIPPING)?;
        running.adam.step().map(drop)
    };
};
