//! The device is lost during construction and between steps.

use wgpu_adam::{AdamConfig, Error, Param, WgpuAdam};

use super::running::{
    Expect::{Either, Fine, Refused},
    Point, arena, buffer, lost, made, optimizer, points, steady,
};

pub const POINTS: &[Point] = points! {
    Fine, "before TensorArena::new", |device, _| {
        device.destroy();
        arena(device).map(drop)
    };
    Fine, "before write_param", |device, queue| {
        let arena = arena(device)?;
        device.destroy();
        arena.write_param(queue, "a", &[1.0; 100])
    };
    Refused, "before TensorArena::new and write_param", |device, queue| {
        device.destroy();
        arena(device)?.write_param(queue, "a", &[1.0; 100])
    };
    Refused, "before new", |device, queue| {
        let arena = arena(device)?;
        device.destroy();
        optimizer(device, queue, &arena).map(drop)
    };
    Refused, "before TensorArena::new and new", |device, queue| {
        device.destroy();
        optimizer(device, queue, &arena(device)?).map(drop)
    };
    Refused, "before new, beside an optimizer whose pipelines it would share", |device, queue| {
        let running = lost(device, queue);
        optimizer(device, queue, &running.arena).map(drop)
    };
    Either, "before new, without gradients", |device, queue| {
        let own = buffer(device, wgpu::BufferUsages::empty());
        device.destroy();
        let mut adam = WgpuAdam::new(device, queue, [Param::without_grad("a", [9], &own)], AdamConfig::default())?;
        adam.step().map(drop)
    };
    Fine, "between new and the first step", |device, queue| {
        let mut running = made(device, queue);
        running.lose();
        running.adam.step().map(drop)
    };
    Fine, "before a first step into an encoder of before", |device, queue| {
        let mut running = made(device, queue);
        let mut encoder = running.encoder();
        running.lose();
        let recorded = running.adam.record_step(&mut encoder);
        running.submit(encoder);
        recorded
    };
    Fine, "in steady state", |device, queue| lost(device, queue).adam.step().map(drop);
    Fine, "in steady state, step_with", |device, queue| lost(device, queue).adam.step_with(|_, _| Ok(()));
    Fine, "between recording and submitting", |device, queue| {
        let mut running = steady(device, queue);
        let mut encoder = running.encoder();
        running.adam.record_step(&mut encoder)?;
        running.lose();
        running.submit(encoder);
        Ok(())
    };
    Fine, "between finish and submit", |device, queue| {
        let mut running = steady(device, queue);
        let mut encoder = running.encoder();
        running.adam.record_step(&mut encoder)?;
        let commands = encoder.finish();
        running.lose();
        queue.submit([commands]);
        Ok(())
    };
    Refused, "before slots grow, in one encoder", |device, queue| {
        lost(device, queue).recording(|adam, encoder, _| (0..100).try_for_each(|_| adam.record_step(encoder)))
    };
    Refused, "before slots grow, in an encoder of before", |device, queue| {
        let mut running = steady(device, queue);
        let mut encoder = running.encoder();
        running.lose();
        let recorded = (0..100).try_for_each(|_| running.adam.record_step(&mut encoder));
        running.submit(encoder);
        recorded
    };
    Refused, "after slots have grown, before they grow again", |device, queue| {
        let mut running = steady(device, queue);
        let mut encoder = running.encoder();
        (0..100).try_for_each(|_| running.adam.record_step(&mut encoder))?;
        running.lose();
        let recorded = (0..100).try_for_each(|_| running.adam.record_step(&mut encoder));
        running.submit(encoder);
        recorded
    };
    Either, "before a hundred steps of their own submits", |device, queue| {
        let mut running = lost(device, queue);
        (0..100).try_for_each(|_| running.adam.step().map(drop))
    };
};
