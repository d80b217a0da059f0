//! An optimizer before a point, its device, and the expected result when the device is lost there.

use futures::future::LocalBoxFuture;
use wgpu_adam::{AdamConfig, Error, Moments, Param, TensorArena, WgpuAdam};

/// The expected result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// No error: the call creates nothing, so nothing reveals the loss.
    Fine,
    /// `Error::DeviceLost`.
    Refused,
    /// Either is correct, because it depends on timing.
    Either,
}

impl Expect {
    /// Whether the result is as expected. A browser creates objects on a lost device without an error, so a call that
    /// is refused elsewhere may succeed there.
    pub fn is_met_by(self, result: &Result<(), Error>) -> bool {
        match result {
            Ok(()) => self != Self::Refused || cfg!(target_family = "wasm"),
            Err(error @ Error::DeviceLost { .. }) => {
                self != Self::Fine && error.to_string().contains("the device is lost")
            }
            Err(Error::Device { message, .. }) => {
                self != Self::Fine && cfg!(target_family = "wasm") && message.contains("lost")
            }
            Err(_) => false,
        }
    }
}

pub struct Point {
    pub name: &'static str,
    pub expect: Expect,
    /// Loses the device and continues.
    pub run: for<'a> fn(&'a wgpu::Device, &'a wgpu::Queue) -> LocalBoxFuture<'a, Result<(), Error>>,
}

/// Rows of a table of points. Each point may be async.
macro_rules! points {
    ($($expect:expr, $name:expr, |$device:pat_param, $queue:pat_param| $run:expr;)*) => {
        &[$(Point {
            name: $name,
            expect: $expect,
            run: {
                async fn run($device: &wgpu::Device, $queue: &wgpu::Queue) -> Result<(), Error> {
                    $run
                }
                |device, queue| Box::pin(run(device, queue))
            },
        }),*]
    };
}
pub(super) use points;

pub struct Running {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub arena: TensorArena,
    pub adam: WgpuAdam,
}

pub fn arena(device: &wgpu::Device) -> Result<TensorArena, Error> {
    TensorArena::new(device, [("a", [100]), ("b", [7])])
}

pub fn optimizer(device: &wgpu::Device, queue: &wgpu::Queue, arena: &TensorArena) -> Result<WgpuAdam, Error> {
    WgpuAdam::new(device, queue, arena.params(), AdamConfig::default())
}

/// After construction, before the first step.
pub fn made(device: &wgpu::Device, queue: &wgpu::Queue) -> Running {
    let arena = arena(device).unwrap();
    let adam = optimizer(device, queue, &arena).unwrap();
    Running { device: device.clone(), queue: queue.clone(), arena, adam }
}

/// In steady state, then with the device lost.
pub fn lost(device: &wgpu::Device, queue: &wgpu::Queue) -> Running {
    let mut running = steady(device, queue);
    running.lose();
    running
}

pub fn steady(device: &wgpu::Device, queue: &wgpu::Queue) -> Running {
    let mut running = made(device, queue);
    for _ in 0..3 {
        running.adam.step().unwrap();
    }
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    running
}

pub fn buffer(device: &wgpu::Device, usage: wgpu::BufferUsages) -> wgpu::Buffer {
    let usage = usage | wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
    device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 400, usage, mapped_at_creation: false })
}

pub fn param(device: &wgpu::Device, name: &str) -> Param {
    let own = || buffer(device, wgpu::BufferUsages::empty());
    Param::new(name, [50], &own(), &own())
}

impl Running {
    pub fn lose(&mut self) {
        self.device.destroy();
    }

    pub fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }

    pub fn submit(&self, encoder: wgpu::CommandEncoder) {
        self.queue.submit([encoder.finish()]);
    }

    /// Records into an encoder and submits it, even if recording fails.
    pub fn recording(
        mut self,
        record: impl FnOnce(&mut WgpuAdam, &mut wgpu::CommandEncoder, &TensorArena) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut encoder = self.encoder();
        let recorded = record(&mut self.adam, &mut encoder, &self.arena);
        self.submit(encoder);
        recorded
    }

    pub fn replace(self, with: Param, moments: Moments) -> Result<(), Error> {
        self.recording(|adam, encoder, _| adam.record_replace_param(encoder, adam.find("b").unwrap(), with, moments))
    }
}
