//! Records a step: writes its hyper blocks or its request, and records its dispatches.

use super::prepared::Prepared;
use super::request::{self, ClassStep};
use super::stepper::Stepper;
use crate::control::Control;
use crate::control::question::Answer;
use crate::error::Error;
use crate::layout::Hyper;
use crate::registry::Registry;

impl Stepper {
    /// Records one step over all parameters that have a gradient, and counts it. After an error nothing is recorded or
    /// counted.
    pub(crate) fn record(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        registry: &mut Registry,
        control: &mut Control,
    ) -> Result<(), Error> {
        self.hear_answer(registry, control);
        if std::mem::take(&mut self.options_changed) {
            self.is_stale |= self.are_alike_no_more(registry);
        }
        if self.is_stale {
            self.prepare(registry, control)?;
        }
        if control.options.zero_grad_after_step {
            // A gradient that cannot be cleared is reported before anything is recorded.
            self.clears(registry)?;
        }
        // Tensors without elements step too, and their steps can be skipped.
        if self.prepared.control.is_some() && !self.prepared.stepping.is_empty() {
            self.record_decided(encoder, registry, control)?;
        } else if !self.prepared.bound.dispatches.is_empty() {
            self.record_plain(encoder, registry, control)?;
        }
        if control.options.zero_grad_after_step {
            self.clears(registry)?.iter().for_each(|clear| clear.record(encoder));
        }
        self.count(registry);
        Ok(())
    }

    /// Counts the step that was recorded.
    fn count(&mut self, registry: &mut Registry) {
        let Prepared { classes, stepping, .. } = &mut self.prepared;
        for class in classes.iter_mut() {
            class.step += 1;
        }
        for &index in stepping.iter() {
            if let Some(tensor) = registry.tensor_mut(index) {
                tensor.step += 1;
                if tensor.is_fresh {
                    registry.touch(index);
                }
            }
        }
    }

    /// Records a step whose hyper blocks the host makes.
    fn record_plain(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        registry: &Registry,
        control: &Control,
    ) -> Result<(), Error> {
        let Self { prepared, slots, gpu, kernels, .. } = self;
        let Prepared { bound, classes, hypers, hyper_stride, .. } = prepared;
        let (grad_scale, clip_value) = (control.host_scale() as f32, control.clip_value());
        hypers.clear();
        for (number, class) in classes.iter().enumerate() {
            let Some(group) = registry.groups.get(class.group as usize) else { continue };
            let hyper = Hyper::for_step(&group.config, class.step + 1);
            hypers.resize(number * *hyper_stride, Hyper::default());
            hypers.push(Hyper { grad_scale, clip_value, ..hyper });
        }
        let slot = slots.write(bytemuck::cast_slice(hypers), gpu, &kernels.layouts)?;
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: Some(&format!("{}: step", gpu.label)),
            timestamp_writes: None,
        });
        bound.record(&mut pass, slot.bind_group, slot.offset);
        drop(pass);
        slot.lease.end_with(encoder);
        Ok(())
    }

    /// Records a step that control.wgsl decides about: gradients are measured, hyper blocks are made from the results,
    /// parameters are stepped.
    fn record_decided(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        registry: &mut Registry,
        control: &mut Control,
    ) -> Result<(), Error> {
        let Self { prepared, slots, gpu, kernels, .. } = self;
        let Prepared { bound, classes, request, hyper_stride, control: decided, .. } = prepared;
        let Some(decided) = decided else { return Ok(()) };
        let steps = classes.iter().filter_map(|class| {
            let config = &registry.groups.get(class.group as usize)?.config;
            Some(ClassStep { config, t: class.step + 1, tensor: class.tensor })
        });
        request::write(request, control, decided, *hyper_stride, steps.collect::<Vec<_>>().into_iter());
        let slot = slots.write(request, gpu, &kernels.layouts)?;
        let measures = control.measures();
        let Some(controller) = &mut control.controller else { return Ok(()) };
        let asks = control.is_parted && !controller.question.is_asked();
        if let Some(found_inf) = &control.found_inf {
            controller.record_found_inf(encoder, found_inf);
        }
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: Some(&format!("{}: step under gradient control", gpu.label)),
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
        controller.statistics.record(encoder, &controller.state);
        // If there is no memory for the answer, the next step asks.
        if asks && controller.question.ask(gpu, encoder, &controller.skipped.current).is_ok() {
            registry.begin_since();
            control.is_parted = false;
        }
        control.recorded += 1;
        control.device_steps = control.may_skip();
        Ok(())
    }

    /// Whether groups that share classes have different options now.
    fn are_alike_no_more(&self, registry: &Registry) -> bool {
        let bits = |group: u32| registry.groups.get(group as usize).map(|group| group.config.bits());
        self.prepared.alike.iter().any(|&(group, first)| bits(group) != bits(first))
    }

    /// Merges histories of tensors, once the device has reported how many steps each tensor has skipped.
    fn hear_answer(&mut self, registry: &mut Registry, control: &mut Control) {
        let Some(controller) = &mut control.controller else { return };
        match controller.question.answer(&self.gpu) {
            Answer::None => {}
            Answer::Lost => control.is_parted = true,
            Answer::Counts(skipped) => self.is_stale |= registry.merge_histories(&skipped),
        }
    }
}
