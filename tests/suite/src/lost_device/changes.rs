//! The device is lost before a call that changes, saves or loads an optimizer.

use wgpu_adam::{
    Checkpoint, CheckpointContents, Error, LoadOptions, Moments, Param, ParamGroup, StateDict, TensorArena, ZeroGrad,
};

use super::running::{
    Expect::{Either, Fine, Refused},
    Point, Running, buffer, lost, made, param, points, steady,
};

/// In steady state, with more state than the smallest staging buffer holds.
fn large(device: &wgpu::Device, queue: &wgpu::Queue) -> Running {
    let mut running = steady(device, queue);
    let arena = TensorArena::new(device, [("large", [5000])]).unwrap();
    running.adam.add_param_group(ParamGroup::new(arena.params())).unwrap();
    running.adam.step().unwrap();
    running
}

pub const POINTS: &[Point] = points! {
    Refused, "before a changed plan, by a gradient taken away", |device, queue| {
        let mut running = lost(device, queue);
        running.adam.set_grad_to_none(running.adam.find("a").unwrap())?;
        running.adam.step().map(drop)
    };
    Refused, "before a changed plan, by another gradient", |device, queue| {
        let mut running = lost(device, queue);
        let grad = buffer(device, wgpu::BufferUsages::empty());
        running.adam.set_grad(running.adam.find("a").unwrap(), &grad)?;
        running.adam.step().map(drop)
    };
    Refused, "before add_param_group", |device, queue| {
        let mut running = lost(device, queue);
        running.adam.add_param_group(ParamGroup::new([param(device, "c")])).map(drop)
    };
    Refused, "before add_param_group, with buffers of before", |device, queue| {
        let mut running = steady(device, queue);
        let group = ParamGroup::new([param(device, "c")]);
        running.lose();
        running.adam.add_param_group(group).map(drop)
    };
    Either, "before add_param_group without gradients, and a step", |device, queue| {
        let mut running = lost(device, queue);
        let own = buffer(device, wgpu::BufferUsages::empty());
        running.adam.add_param_group(ParamGroup::new([Param::without_grad("c", [9], &own)]))?;
        running.adam.step().map(drop)
    };
    Refused, "before set_amsgrad", |device, queue| {
        let mut running = made(device, queue);
        running.lose();
        running.adam.set_amsgrad(0, true)
    };
    Refused, "before set_decoupled_weight_decay", |device, queue| {
        lost(device, queue).adam.set_decoupled_weight_decay(0, true)
    };
    Fine, "before the other setters, and a step", |device, queue| {
        let mut running = lost(device, queue);
        running.adam.set_lr(0, 0.1)?;
        running.adam.set_betas(0, (0.5, 0.5))?;
        running.adam.set_eps(0, 1e-3)?;
        running.adam.set_weight_decay(0, 0.1)?;
        running.adam.set_maximize(0, true)?;
        running.adam.step().map(drop)
    };
    Refused, "before replace, keeping moments", |device, queue| {
        lost(device, queue).replace(param(device, "c"), Moments::Keep)
    };
    Refused, "before replace, with moments of before", |device, queue| {
        let mut running = steady(device, queue);
        let moment = buffer(device, wgpu::BufferUsages::COPY_SRC);
        let param = param(device, "c");
        running.lose();
        let moments = || (&moment).into();
        running.replace(param, Moments::From { exp_avg: moments(), exp_avg_sq: moments(), max_exp_avg_sq: None })
    };
    Either, "before replace, without gradients anywhere", |device, queue| {
        let mut running = steady(device, queue);
        let own = buffer(device, wgpu::BufferUsages::empty());
        for name in ["a", "b"] {
            running.adam.set_grad_to_none(running.adam.find(name).unwrap())?;
        }
        running.adam.step()?;
        running.lose();
        running.replace(Param::without_grad("c", [50], &own), Moments::Keep)
    };
    Fine, "before remove_param", |device, queue| {
        let mut running = lost(device, queue);
        running.adam.remove_param(running.adam.find("a").unwrap())
    };
    Fine, "before reset", |device, queue| {
        lost(device, queue).recording(|adam, encoder, _| adam.record_reset_state(encoder, adam.find("a").unwrap()))
    };
    Refused, "before reset and a step", |device, queue| {
        lost(device, queue).recording(|adam, encoder, _| {
            adam.record_reset_state(encoder, adam.find("a").unwrap())?;
            adam.record_step(encoder)
        })
    };
    Fine, "before zero_grad by filling", |device, queue| {
        lost(device, queue).recording(|adam, encoder, _| adam.record_zero_grad(encoder, ZeroGrad::Fill))
    };
    Fine, "before zero_grad by taking away, and no step", |device, queue| {
        lost(device, queue).recording(|adam, encoder, _| adam.record_zero_grad(encoder, ZeroGrad::SetToNone))
    };
    Fine, "before zero_grad by taking away, and giving back", |device, queue| {
        lost(device, queue).recording(|adam, encoder, arena| {
            adam.record_zero_grad(encoder, ZeroGrad::SetToNone)?;
            for name in ["a", "b"] {
                adam.set_grad(adam.find(name).unwrap(), arena.grad_buffer(name)?)?;
            }
            adam.record_step(encoder)
        })
    };
    Refused, "before load_state_dict", |device, queue| {
        let mut running = steady(device, queue);
        let dict = running.adam.state_dict().await?;
        running.lose();
        running.adam.load_state_dict(&dict).await
    };
    Refused, "before load_state_dict, of no steps", |device, queue| {
        let mut running = made(device, queue);
        let dict: StateDict = running.adam.state_dict().await?;
        running.lose();
        running.adam.load_state_dict(&dict).await
    };
    Refused, "before load_from", |device, queue| {
        let mut running = steady(device, queue);
        let bytes = running.adam.checkpoint_bytes(&CheckpointContents::optimizer_only()).await?;
        running.lose();
        running.adam.load_from_with(&Checkpoint::from_bytes(bytes)?, &LoadOptions::new().optimizer_only()).await
    };
    Refused, "before load_from, of no steps", |device, queue| {
        let mut running = made(device, queue);
        let bytes = running.adam.checkpoint_bytes(&CheckpointContents::optimizer_only()).await?;
        running.lose();
        running.adam.load_from_with(&Checkpoint::from_bytes(bytes)?, &LoadOptions::new().optimizer_only()).await
    };
    Refused, "before checkpoint_bytes", |device, queue| {
        lost(device, queue).adam.checkpoint_bytes(&CheckpointContents::new()).await.map(drop)
    };
    Either, "between checkpoint_bytes and its await", |device, queue| {
        let mut running = steady(device, queue);
        let bytes = running.adam.checkpoint_bytes(&CheckpointContents::optimizer_only());
        running.lose();
        bytes.await.map(drop)
    };
    Either, "between the parts of a state dict that are copied one after another", |device, queue| {
        let mut running = large(device, queue);
        running.adam.set_staging_size(4096);
        let copy = running.adam.state_dict();
        running.lose();
        copy.await.map(drop)
    };
    Refused, "before a load through small staging buffers", |device, queue| {
        let mut running = large(device, queue);
        running.adam.set_staging_size(4096);
        let dict = running.adam.state_dict().await?;
        running.lose();
        running.adam.load_state_dict(&dict).await
    };
    Refused, "before state_dict", |device, queue| lost(device, queue).adam.state_dict().await.map(drop);
    Either, "before state_dict, of no steps", |device, queue| {
        let mut running = made(device, queue);
        running.lose();
        running.adam.state_dict().await.map(drop)
    };
    Either, "between state_dict and its await", |device, queue| {
        let mut running = steady(device, queue);
        let copy = running.adam.state_dict();
        running.lose();
        copy.await.map(drop)
    };
    Either, "between state_dict and its await, with a poll", |device, queue| {
        let mut running = steady(device, queue);
        let copy = running.adam.state_dict();
        running.lose();
        device.poll(wgpu::PollType::Poll).unwrap();
        copy.await.map(drop)
    };
    Either, "between a state dict that has come and its await", |device, queue| {
        let mut running = steady(device, queue);
        let copy = running.adam.state_dict();
        device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        running.lose();
        copy.await.map(drop)
    };
    Fine, "between state_dict and letting go of it", |device, queue| {
        let mut running = steady(device, queue);
        let copy = running.adam.state_dict();
        running.lose();
        drop(copy);
        Ok(())
    };
    Fine, "before ready", |device, queue| {
        let running = lost(device, queue);
        running.arena.ready().await?;
        running.adam.ready().await
    };
    Fine, "before looking and letting go", |device, queue| {
        let running = lost(device, queue);
        let id = running.adam.find("a").unwrap();
        running.adam.state(id)?;
        assert_eq!(running.adam.param(id)?.step, 3);
        drop(running);
        Ok(())
    };
};
