//! Reports to the host what the device decided, some steps later, without anyone waiting.

use std::fmt::{Display, Formatter};
use std::sync::{Arc, Mutex};

use crate::device::gpu::Gpu;
use crate::device::guard::Guard;
use crate::device::leases::lock;
use crate::error::Error;
use crate::layout::State;

/// What happened to a step's gradients. Steps make statistics if the norm of gradients is clipped or measured, or if
/// steps may be skipped; see [`GradientControl`](crate::GradientControl).
///
/// Steps are counted from the first that this optimizer recorded under such control. Loading state does not change the
/// counts.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct StepStatistics {
    /// The number of the step, from 1, among the steps recorded under such control.
    pub step: u64,
    /// The norm of all gradients, unscaled, before clipping. Infinite or NaN if any gradient is. 0 if the gradients are
    /// not measured: neither for a norm nor for such numbers.
    pub grad_norm: f32,
    /// The factor that clipped the gradients: 1 if they were not clipped.
    pub clip_factor: f32,
    /// Whether any gradient was infinite or NaN, or the caller's `found_inf` was not 0.
    pub found_inf: bool,
    /// The number of steps taken so far.
    pub steps_taken: u64,
    /// The number of steps skipped so far.
    pub steps_skipped: u64,
    /// The loss scale after the step.
    pub loss_scale: f32,
    /// For a dynamic scale, the number of steps since it last changed.
    pub growth_tracker: u32,
}

impl StepStatistics {
    pub(crate) fn new(state: &State) -> Self {
        let wide = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
        Self {
            step: wide(state.step_low, state.step_high),
            grad_norm: state.grad_norm,
            clip_factor: state.clip_factor,
            found_inf: state.found_inf != 0,
            steps_taken: wide(state.taken_low, state.taken_high),
            steps_skipped: wide(state.skipped_low, state.skipped_high),
            loss_scale: state.loss_scale,
            growth_tracker: state.growth_tracker,
        }
    }
}

impl Display for StepStatistics {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Self { step, grad_norm, clip_factor, found_inf, steps_taken, steps_skipped, loss_scale, growth_tracker } =
            self;
        write!(f, "step {step}: grad_norm {grad_norm:.6}, clip_factor {clip_factor:.6}")?;
        if *found_inf {
            f.write_str(", found_inf")?;
        }
        write!(f, ", {steps_taken} taken, {steps_skipped} skipped, loss_scale {loss_scale} for {growth_tracker} steps")
    }
}

/// Small buffers to which steps copy the device's decisions. A buffer whose mapping is pending would fail the submit of
/// the next step that copies to it. So steps lease buffers, as they lease slots, and a step that finds none free
/// reports nothing.
#[derive(Debug)]
pub(crate) struct StatisticsPool {
    buffers: Vec<wgpu::Buffer>,
    numbers: Arc<Mutex<Numbers>>,
    latest: Option<StepStatistics>,
    guard: Guard,
}

/// Numbers of buffers. Not wgpu objects, because what an encoder receives must be `Send`, even in a browser.
#[derive(Debug, Default)]
struct Numbers {
    free: Vec<usize>,
    mapped: Vec<usize>,
}

const BUFFERS: usize = 8;
const BYTES: u64 = size_of::<State>() as u64;

/// Returns its buffer when dropped, unless the buffer is mapped by then.
struct Lease {
    numbers: Arc<Mutex<Numbers>>,
    buffer: Option<usize>,
}

impl Lease {
    fn mapped(mut self) {
        if let Some(buffer) = self.buffer.take() {
            lock(&self.numbers).mapped.push(buffer);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer {
            lock(&self.numbers).free.push(buffer);
        }
    }
}

impl StatisticsPool {
    pub(crate) fn new(gpu: &Gpu) -> Result<Self, Error> {
        let buffer = |_| gpu.buffer("statistics", BYTES, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
        let buffers = gpu.guard.run("the buffers of statistics", || (0..BUFFERS).map(buffer).collect())?;
        let numbers = Numbers { free: (0..BUFFERS).collect(), mapped: Vec::new() };
        Ok(Self { buffers, numbers: Arc::new(Mutex::new(numbers)), latest: None, guard: gpu.guard.clone() })
    }

    /// Records the copy of what the device decides about the step recorded before.
    pub(crate) fn record(&mut self, encoder: &mut wgpu::CommandEncoder, state: &wgpu::Buffer) {
        self.collect();
        let Some(number) = lock(&self.numbers).free.pop() else { return };
        let lease = Lease { numbers: Arc::clone(&self.numbers), buffer: Some(number) };
        let Some(buffer) = self.buffers.get(number) else { return };
        encoder.copy_buffer_to_buffer(state, 0, buffer, 0, Some(BYTES));
        encoder.map_buffer_on_submit(buffer, wgpu::MapMode::Read, .., move |result| {
            if result.is_ok() {
                lease.mapped();
            }
        });
    }

    /// Reads all statistics that have arrived, and returns the latest.
    pub(crate) fn collect(&mut self) -> Option<StepStatistics> {
        let mapped = std::mem::take(&mut lock(&self.numbers).mapped);
        for number in mapped {
            let Some(buffer) = self.buffers.get(number) else { continue };
            if let Ok(range) = buffer.get_mapped_range(..) {
                let state: State = bytemuck::pod_read_unaligned(&range);
                let arrived = StepStatistics::new(&state);
                if self.latest.is_none_or(|latest| latest.step < arrived.step) {
                    self.latest = Some(arrived);
                }
            }
            // A buffer of a lost device is of no further use.
            if self.guard.unmap("the buffers of statistics", buffer).is_ok() {
                lock(&self.numbers).free.push(number);
            }
        }
        self.latest
    }
}
