//! `WgpuAdam` over an arena, and the copy that it is compared with.

use anyhow::{Context, Result};
use wgpu_adam::AdamConfig;
use wgpu_adam_bench::adam::Adam;
use wgpu_adam_bench::device::Gpu;
use wgpu_adam_bench::models::equal;
use wgpu_adam_bench::rounds::Timer;
use wgpu_adam_bench::yardstick::Copy;

use crate::contender::{Case, Contender, LR, SAMPLE};

pub struct Ours<'a> {
    gpu: &'a Gpu,
    timer: Timer<'a>,
    adam: Adam,
}

impl<'a> Ours<'a> {
    pub fn new(gpu: &'a Gpu, case: Case) -> Result<Self> {
        let config = AdamConfig { lr: LR, ..Default::default() };
        let adam = Adam::arena(gpu, &equal(case.tensors, case.elements), 1, config)?;
        Ok(Self { gpu, timer: Timer::new(gpu), adam })
    }
}

impl Contender for Ours<'_> {
    fn name(&self) -> String {
        "wgpu-adam".into()
    }

    fn step(&mut self) -> Result<f64> {
        let (milliseconds, _) = self.timer.time(&mut self.adam)?;
        Ok(milliseconds)
    }

    fn sample(&mut self, tensor: usize) -> Result<Option<Vec<f32>>> {
        let tensor = self.adam.tensors.get(tensor).context("no such tensor")?;
        let bytes = 4 * tensor.elements.min(SAMPLE as u64);
        let staging = self.gpu.buffer(bytes, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
        let mut encoder = self.gpu.encoder();
        encoder.copy_buffer_to_buffer(tensor.param.buffer(), tensor.param.offset(), &staging, 0, bytes);
        let submission = self.gpu.queue.submit([encoder.finish()]);
        staging.map_async(wgpu::MapMode::Read, .., |_| {});
        self.gpu.wait(submission)?;
        let view = staging.get_mapped_range(..)?;
        Ok(Some(bytemuck::pod_collect_to_vec(&view)))
    }
}

/// A kernel that reads and writes the same bytes as a step.
pub struct Copied<'a> {
    timer: Timer<'a>,
    copy: Copy,
}

impl<'a> Copied<'a> {
    pub fn new(gpu: &'a Gpu, case: Case) -> Result<Self> {
        let copy = Copy::new(gpu, (case.tensors * case.elements) as u64, false)?;
        Ok(Self { timer: Timer::new(gpu), copy })
    }
}

impl Contender for Copied<'_> {
    fn name(&self) -> String {
        "a copy of the same bytes".into()
    }

    fn step(&mut self) -> Result<f64> {
        let (milliseconds, _) = self.timer.time(&mut self.copy)?;
        Ok(milliseconds)
    }

    fn sample(&mut self, _tensor: usize) -> Result<Option<Vec<f32>>> {
        Ok(None)
    }
}
