//! A step: its hyper blocks written, its dispatches recorded.

use crate::Error;
use crate::layout::Hyper;
use crate::optimizer::{Prepared, WgpuAdam};
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
    /// [`StateBeingCopied`](Error::StateBeingCopied) while a copy of a state larger than the staging size is not complete.
    /// The step is then not counted.
    pub fn record_step(&mut self, encoder: &mut wgpu::CommandEncoder) -> Result<(), Error> {
        self.check_not_copied()?;
        if self.stale {
            self.prepare()?;
        }
        let Self { prepared, registry, slots, gpu, kernels, number, .. } = self;
        let Prepared { bound, classes, stepping, hypers, hyper_stride, .. } = prepared;
        if !bound.dispatches.is_empty() {
            hypers.clear();
            let config = |group: u32| registry.groups.get(group as usize).map(|group| &group.config);
            for (number, &(group, t)) in classes.iter().enumerate() {
                hypers.resize(number * *hyper_stride, Hyper::default());
                hypers.extend(config(group).map(|config| Hyper::for_step(config, t + 1)));
            }
            let slot = slots.write(hypers, Maker { gpu, layout: &kernels.layouts.step })?;
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: Some(&format!("wgpu_adam {number}: step")),
                timestamp_writes: None,
            });
            for dispatch in &bound.dispatches {
                pass.push_debug_group(&dispatch.label);
                pass.set_pipeline(&dispatch.pipeline);
                pass.set_bind_group(0, &dispatch.tensors, &[]);
                pass.set_bind_group(1, &dispatch.plan, &[dispatch.frame]);
                pass.set_bind_group(2, slot.bind_group, &[(slot.offset + dispatch.hypers) as u32]);
                pass.dispatch_workgroups(dispatch.workgroups.0, dispatch.workgroups.1, 1);
                pass.pop_debug_group();
            }
            drop(pass);
            let lease = slot.lease;
            // The whole lease must move in: a closure that named a field would drop the rest of it here.
            encoder.on_submitted_work_done(move || drop(lease));
        }
        for (_, t) in classes.iter_mut() {
            *t += 1;
        }
        for &index in stepping.iter() {
            if let Some(tensor) = registry.tensor_mut(index) {
                tensor.step += 1;
            }
        }
        Ok(())
    }

    /// The dispatches that a step recorded with the last plan has: what its cost on the GPU depends on, beside its memory
    /// traffic. One for all small tensors of an arena.
    #[must_use]
    pub fn dispatch_count(&self) -> usize {
        self.prepared.bound.dispatches.len()
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
