//! Steps, recorded into the caller's encoder or submitted on their own.

use crate::error::Error;
use crate::optimizer::WgpuAdam;

impl WgpuAdam {
    /// Records one step over all parameters that have a gradient, into the caller's encoder, as one compute pass.
    ///
    /// Increments the step count of each such parameter and does not touch the others. Submits nothing and waits for
    /// nothing. In steady state it makes exactly one `queue.write_buffer` and creates no wgpu object. The first step
    /// after a change of parameters or gradients also makes a new plan: a buffer and a few bind groups. One encoder may
    /// hold any number of steps, with any changes between them.
    ///
    /// # Errors
    /// Out of memory for a plan or for more recorded steps; a lost device;
    /// [`StateBeingCopied`](Error::StateBeingCopied) while a copy of a state larger than the staging size is not
    /// complete; a gradient's buffer without `COPY_DST` that
    /// [`zero_grad_after_step`](crate::GradientControl::zero_grad_after_step) would clear. Then nothing is recorded,
    /// and the step is not counted.
    pub fn record_step(&mut self, encoder: &mut wgpu::CommandEncoder) -> Result<(), Error> {
        self.check_not_copied()?;
        self.stepper.record(encoder, &mut self.registry, &mut self.control)
    }

    /// Returns the number of dispatches that step parameters. A step's cost on the GPU depends on it and on the memory
    /// traffic. All small tensors of an arena share one dispatch.
    ///
    /// Not included are the clears of [`zero_grad_after_step`](crate::GradientControl::zero_grad_after_step) and the
    /// dispatches of gradient control: one if the norm is clipped or measured or steps may be skipped, and as many
    /// again as are returned here if gradients are measured.
    ///
    /// The number is that of the next step, if parameters and gradients stay as they are. If they have changed since
    /// the last step, this call plans the step to count its dispatches, and recording plans it again.
    #[must_use]
    pub fn dispatch_count(&self) -> usize {
        self.stepper.dispatch_count(&self.registry, &self.control)
    }

    /// Records one step into an encoder of its own and submits it.
    ///
    /// # Errors
    /// As for [`record_step`](Self::record_step).
    pub fn step(&mut self) -> Result<wgpu::SubmissionIndex, Error> {
        let (index, ()) = self.submit(|_, _| Ok(()))?;
        Ok(index)
    }

    /// Records what the closure records, a forward and a backward pass, then the step, and submits all as one: torch's
    /// `step(closure)`. Returns what the closure returns. If the closure or the step fails, nothing is submitted.
    ///
    /// # Errors
    /// Those of the closure; otherwise as for [`record_step`](Self::record_step).
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
        let label = format!("{}: step", self.stepper.gpu.label);
        let mut encoder =
            self.stepper.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(&label) });
        let value = closure(self, &mut encoder)?;
        self.record_step(&mut encoder)?;
        Ok((self.stepper.gpu.queue.submit([encoder.finish()]), value))
    }
}

#[cfg(test)]
mod tests {
    use crate::{AdamConfig, GradientControl, LossScale, TensorArena, WgpuAdam, wgpu};

    /// If a random half of the tensors takes each step under skipping, they split into about as many classes as there
    /// are tensors. Once all step again, and the device has answered, there is one class for each step count.
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
            adam.stepper.prepared.classes.len()
        };
        // In one encoder, so that no answer arrives.
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
        let counts: std::collections::BTreeSet<u64> = ids.iter().map(|id| adam.param(*id).unwrap().step).collect();
        assert_eq!(adam.stepper.prepared.classes.len(), counts.len());
        assert!(counts.len() < 14, "{counts:?}");
    }

    /// A load restarts all histories: tensors that were split share one class again if they are at one step.
    #[test]
    fn a_load_joins_what_had_parted() {
        let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
        let arena = TensorArena::new(&device, (0..3).map(|number| (number.to_string(), [8]))).unwrap();
        let mut adam = WgpuAdam::new(&device, &queue, arena.params(), AdamConfig::default()).unwrap();
        let dict = pollster::block_on(adam.state_dict()).unwrap();
        adam.set_gradient_control(GradientControl { skip_nonfinite: true, ..Default::default() }).unwrap();
        for id in adam.param_groups()[0].params().to_vec() {
            let grad = arena.params()[id.index as usize].grad_buffer().unwrap().clone();
            adam.set_grad_to_none(id).unwrap();
            adam.step().unwrap();
            adam.set_grad(id, grad).unwrap();
        }
        pollster::block_on(adam.load_state_dict(&dict)).unwrap();
        adam.step().unwrap();
        assert_eq!(adam.stepper.prepared.classes.len(), 1);
    }

    /// Control that was switched off leaves the plan, its kernels and the bytes of a step as if it had never been on.
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
            let prepared = std::mem::take(&mut adam.stepper.prepared);
            assert!(prepared.control.is_none() && prepared.request.is_empty(), "{controls:?}");
            (prepared.input, prepared.hypers)
        };
        let none = GradientControl::default();
        let plain = stepped(&[]);
        assert_eq!(plain.1.len(), 1, "32 bytes a class");
        for on in [
            GradientControl { max_norm: Some(1.0), ..none },
            GradientControl { clip_value: Some(1.0), accumulate: 3, ..none },
            GradientControl { loss_scale: LossScale::Fixed(8.0), ..none },
        ] {
            assert_eq!(stepped(&[on, none]), plain, "{on:?}");
        }
        // Neutral numbers need no control.
        assert_eq!(stepped(&[GradientControl { loss_scale: LossScale::Fixed(1.0), ..none }]), plain);
    }

    /// The number of a step has 64 bits. The test sets it, because nobody can wait for 2^32 steps.
    #[test]
    fn the_number_of_a_step_has_64_bits() {
        let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
        let arena = TensorArena::new(&device, [("a", [8])]).unwrap();
        let mut adam = WgpuAdam::new(&device, &queue, arena.params(), AdamConfig::default()).unwrap();
        adam.set_gradient_control(GradientControl { max_norm: Some(1.0), ..Default::default() }).unwrap();
        for (recorded, number) in [(0, (1, 0)), ((5 << 32) - 2, (u32::MAX, 4)), ((5 << 32) - 1, (0, 5))] {
            adam.control.recorded = recorded;
            adam.step().unwrap();
            let header = &adam.stepper.prepared.request[..size_of::<crate::layout::Request>()];
            let request: crate::layout::Request = bytemuck::pod_read_unaligned(header);
            assert_eq!((request.step_low, request.step_high), number);
        }
    }
}
