//! A step: its hyper blocks written, its dispatches recorded.

use crate::Error;
use crate::gradient_control::question::Answer;
use crate::gradient_control::request::{self, ClassStep};
use crate::gradients::ZeroGrad;
use crate::layout::Hyper;
use crate::optimizer::WgpuAdam;
use crate::prepared::Prepared;
use crate::slots::Maker;

impl WgpuAdam {
    /// Records one step over all parameters that have a gradient into the caller's encoder, as one compute pass.
    ///
    /// Each such parameter's step count goes up by one; others are not touched at all. Submits nothing and waits for
    /// nothing. In steady state it makes exactly one `queue.write_buffer` and creates no wgpu object; the first step
    /// after a change of parameters or gradients also makes a new plan: a buffer and a few bind groups. Any number of
    /// steps may be recorded into one encoder, with any changes between them.
    ///
    /// # Errors
    /// No memory for a plan or for more recorded steps, a lost device;
    /// [`StateBeingCopied`](Error::StateBeingCopied) while a copy of a state larger than the staging size is not complete;
    /// gradients that are to be zeroed behind the step in a buffer without `COPY_DST`. Nothing is recorded then, and the
    /// step not counted.
    pub fn record_step(&mut self, encoder: &mut wgpu::CommandEncoder) -> Result<(), Error> {
        self.check_not_copied()?;
        self.hear_answer();
        if std::mem::take(&mut self.options_changed) {
            self.stale |= self.are_alike_no_more();
        }
        if self.stale {
            self.prepare()?;
        }
        if self.control.options.zero_grad_after_step {
            // What cannot be cleared is told before anything is recorded.
            self.clears()?;
        }
        // Tensors without elements step as well, and are skipped.
        if self.prepared.control.is_some() && !self.prepared.stepping.is_empty() {
            self.record_decided(encoder)?;
        } else if !self.prepared.bound.dispatches.is_empty() {
            self.record_plain(encoder)?;
        }
        if self.control.options.zero_grad_after_step {
            self.record_zero_grad(encoder, ZeroGrad::Fill)?;
        }
        let Prepared { classes, stepping, .. } = &mut self.prepared;
        for class in classes.iter_mut() {
            class.step += 1;
        }
        for &index in stepping.iter() {
            if let Some(tensor) = self.registry.tensor_mut(index) {
                tensor.step += 1;
                if tensor.is_fresh {
                    self.registry.touch(index);
                }
            }
        }
        Ok(())
    }

    /// A step whose hyper blocks the host makes.
    fn record_plain(&mut self, encoder: &mut wgpu::CommandEncoder) -> Result<(), Error> {
        let Self { prepared, registry, slots, gpu, kernels, number, control, .. } = self;
        let Prepared { bound, classes, hypers, hyper_stride, .. } = prepared;
        let host_scale = control.host_scale() as f32;
        let clip_value = control.options.clip_value.map_or(f32::INFINITY, |most| most as f32);
        hypers.clear();
        for (number, class) in classes.iter().enumerate() {
            let Some(group) = registry.groups.get(class.group as usize) else { continue };
            let hyper = Hyper::for_step(&group.config, class.step + 1);
            hypers.resize(number * *hyper_stride, Hyper::default());
            hypers.push(Hyper { grad_scale: host_scale, clip_value, ..hyper });
        }
        let slot = slots.write(bytemuck::cast_slice(hypers), Maker { gpu, layouts: &kernels.layouts })?;
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: Some(&format!("wgpu_adam {number}: step")),
            timestamp_writes: None,
        });
        bound.record(&mut pass, slot.bind_group, slot.offset);
        drop(pass);
        slot.lease.end_with(encoder);
        Ok(())
    }

    /// A step that control.wgsl decides about: the gradients are measured, hyper blocks made of that, parameters stepped.
    fn record_decided(&mut self, encoder: &mut wgpu::CommandEncoder) -> Result<(), Error> {
        let Self { prepared, registry, slots, gpu, kernels, number, control, .. } = self;
        let Prepared { bound, classes, request, hyper_stride, control: decided, .. } = prepared;
        let Some(decided) = decided else { return Ok(()) };
        let steps = classes.iter().filter_map(|class| {
            let config = &registry.groups.get(class.group as usize)?.config;
            Some(ClassStep { config, t: class.step + 1, tensor: class.tensor })
        });
        request::write(request, control, decided, *hyper_stride, steps.collect::<Vec<_>>().into_iter());
        let slot = slots.write(request, Maker { gpu, layouts: &kernels.layouts })?;
        let measures = control.measures();
        let Some(controller) = &mut control.controller else { return Ok(()) };
        let asks = control.is_parted && !controller.question.is_asked();
        if let Some((buffer, offset)) = &control.found_inf {
            controller.record_found_inf(encoder, buffer, *offset);
        }
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: Some(&format!("wgpu_adam {number}: step under gradient control")),
            timestamp_writes: None,
        });
        controller.skipped.record_moves(&mut pass);
        if measures {
            decided.record_norms(&mut pass, bound);
        }
        pass.set_pipeline(&controller.pipelines.control);
        pass.set_bind_group(0, &decided.group, &[]);
        pass.set_bind_group(1, slot.request, &[slot.offset as u32]);
        pass.dispatch_workgroups(1, 1, 1);
        bound.record(&mut pass, &decided.hypers, decided.hypers_at);
        drop(pass);
        slot.lease.end_with(encoder);
        controller.skipped.watch(encoder);
        controller.ring.record(encoder, &controller.state);
        // Without memory for it, the next step asks.
        if asks && controller.question.ask(gpu, encoder, &controller.skipped.current).is_ok() {
            registry.begin_since();
            control.is_parted = false;
        }
        control.recorded += 1;
        control.device_steps = control.may_skip();
        Ok(())
    }

    /// Whether groups that share classes have other options than each other now.
    fn are_alike_no_more(&self) -> bool {
        let bits = |group: u32| self.registry.groups.get(group as usize).map(|group| group.config.bits());
        self.prepared.alike.iter().any(|&(group, first)| bits(group) != bits(first))
    }

    /// Brings tensors together again that have parted, once the device has answered how many steps each has skipped.
    fn hear_answer(&mut self) {
        let Some(controller) = &mut self.control.controller else { return };
        match controller.question.answer(&self.gpu) {
            Answer::None => {}
            Answer::Lost => self.control.is_parted = true,
            Answer::Counts(skipped) => self.stale |= self.registry.rejoin_histories(&skipped),
        }
    }

    /// One step with an encoder and a submit of its own.
    ///
    /// # Errors
    /// As for [`record_step`](Self::record_step).
    pub fn step(&mut self) -> Result<wgpu::SubmissionIndex, Error> {
        let (index, ()) = self.submit(|_, _| Ok(()))?;
        Ok(index)
    }

    /// torch's `step(closure)`: lets the closure record forward and backward, records the step behind that, and submits
    /// both as one. Returns what the closure returns; on an error, its or the step's, nothing is submitted.
    ///
    /// # Errors
    /// The closure's, or as for [`record_step`](Self::record_step).
    pub fn step_with<T>(
        &mut self,
        closure: impl FnOnce(&mut Self, &mut wgpu::CommandEncoder) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (_, value) = self.submit(closure)?;
        Ok(value)
    }

    fn submit<T>(
        &mut self,
        closure: impl FnOnce(&mut Self, &mut wgpu::CommandEncoder) -> Result<T, Error>,
    ) -> Result<(wgpu::SubmissionIndex, T), Error> {
        let label = format!("wgpu_adam {}: step", self.number);
        let mut encoder =
            self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(&label) });
        let value = closure(self, &mut encoder)?;
        self.record_step(&mut encoder)?;
        Ok((self.gpu.queue.submit([encoder.finish()]), value))
    }
}

#[cfg(test)]
mod tests {
    use crate::{AdamConfig, GradientControl, LossScale, TensorArena, WgpuAdam, wgpu};

    /// Tensors of which a random half steps under skipping part into about as many classes as there are tensors. When all step
    /// again, and the device has answered, there is one class for each step count.
    #[test]
    fn parted_tensors_rejoin() {
        let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
        let arena = TensorArena::new(&device, (0..500).map(|number| (number.to_string(), [8]))).unwrap();
        let mut adam = WgpuAdam::new(&device, &queue, arena.params(), AdamConfig::default()).unwrap();
        adam.set_gradient_control(GradientControl { skip_nonfinite: true, ..Default::default() }).unwrap();
        let ids = adam.param_groups()[0].params().to_vec();
        let mut random = 1_u32;
        let mut record = |adam: &mut WgpuAdam, encoder: &mut wgpu::CommandEncoder, all: bool| {
            for (id, param) in ids.iter().zip(arena.params()) {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if all || random >> 31 == 1 {
                    adam.set_grad(*id, param.grad_buffer().unwrap().clone()).unwrap();
                } else {
                    adam.set_grad_to_none(*id).unwrap();
                }
            }
            adam.record_step(encoder).unwrap();
            adam.prepared.classes.len()
        };
        // In one encoder, so that no answer comes.
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for _ in 0..12 {
            record(&mut adam, &mut encoder, false);
        }
        let parted = record(&mut adam, &mut encoder, true);
        assert!(parted > 400, "{parted} classes");
        for _ in 0..4 {
            queue.submit([encoder.finish()]);
            device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
            encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            record(&mut adam, &mut encoder, true);
        }
        let counts: std::collections::BTreeSet<u64> = ids.iter().map(|id| adam.step_count(*id).unwrap()).collect();
        assert_eq!(adam.prepared.classes.len(), counts.len());
        assert!(counts.len() < 14, "{counts:?}");
    }

    /// The number of a step goes on past 32 bits, which nobody waits for.
    #[test]
    fn the_number_of_a_step_has_64_bits() {
        let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
        let arena = TensorArena::new(&device, [("a", [8])]).unwrap();
        let mut adam = WgpuAdam::new(&device, &queue, arena.params(), AdamConfig::default()).unwrap();
        adam.set_gradient_control(GradientControl { clip_norm: Some(1.0), ..Default::default() }).unwrap();
        for (recorded, number) in [(0, (1, 0)), ((5 << 32) - 2, (u32::MAX, 4)), ((5 << 32) - 1, (0, 5))] {
            adam.control.recorded = recorded;
            adam.step().unwrap();
            let header = &adam.prepared.request[..size_of::<crate::layout::Request>()];
            let request: crate::layout::Request = bytemuck::pod_read_unaligned(header);
            assert_eq!((request.step_low, request.step_high), number);
        }
    }

    /// A load begins all histories anew: tensors that had parted have one class if they are at one step.
    #[test]
    fn a_load_joins_what_had_parted() {
        let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
        let arena = TensorArena::new(&device, (0..3).map(|number| (number.to_string(), [8]))).unwrap();
        let mut adam = WgpuAdam::new(&device, &queue, arena.params(), AdamConfig::default()).unwrap();
        let dict = crate::wait::block_on(adam.state_dict()).unwrap();
        adam.set_gradient_control(GradientControl { skip_nonfinite: true, ..Default::default() }).unwrap();
        for id in adam.param_groups()[0].params().to_vec() {
            let grad = arena.params()[id.index as usize].grad_buffer().unwrap().clone();
            adam.set_grad_to_none(id).unwrap();
            adam.step().unwrap();
            adam.set_grad(id, grad).unwrap();
        }
        adam.load_state_dict(&dict).unwrap();
        adam.step().unwrap();
        assert_eq!(adam.prepared.classes.len(), 1);
    }

    /// Control that is off leaves the plan, its kernels and what a step writes as if it had never been on.
    #[test]
    fn off_is_plain() {
        let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
        let arena = TensorArena::new(&device, [("a", [1000]), ("b", [7])]).unwrap();
        let stepped = |controls: &[GradientControl]| {
            let mut adam = WgpuAdam::new(&device, &queue, arena.params(), AdamConfig::default()).unwrap();
            for &control in controls {
                adam.set_gradient_control(control).unwrap();
            }
            adam.step().unwrap();
            let prepared = std::mem::take(&mut adam.prepared);
            assert!(prepared.control.is_none() && prepared.request.is_empty(), "{controls:?}");
            (prepared.input, prepared.hypers)
        };
        let none = GradientControl::default();
        let plain = stepped(&[]);
        assert_eq!(plain.1.len(), 1, "32 bytes a class");
        for on in [
            GradientControl { clip_norm: Some(1.0), ..none },
            GradientControl { clip_value: Some(1.0), accumulate: 3, ..none },
            GradientControl { loss_scale: LossScale::Fixed(8.0), ..none },
        ] {
            assert_eq!(stepped(&[on, none]), plain, "{on:?}");
        }
        // Neutral numbers are no control.
        assert_eq!(stepped(&[GradientControl { loss_scale: LossScale::Fixed(1.0), ..none }]), plain);
    }
}
