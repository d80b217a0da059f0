//! The interface for the page: an optimizer over tensors of equal size.

use anyhow::{Context, Result, anyhow};
use futures::channel::oneshot;
use js_sys::{Float32Array, Promise};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;
use wgpu_adam::{AdamConfig, Param, TensorArena, WgpuAdam};

/// Tensors and their optimizer on a separate device.
#[wasm_bindgen]
pub struct Stepper {
    device: wgpu::Device,
    queue: wgpu::Queue,
    adam: WgpuAdam,
    /// The first tensor's parameters.
    first: (wgpu::Buffer, u64),
    size: u64,
}

#[wasm_bindgen]
impl Stepper {
    /// `count` tensors with the same values `param` and the same gradient `grad`, in an arena or in separate buffers.
    pub async fn open(count: usize, param: Vec<f32>, grad: Vec<f32>, lr: f64, arena: bool) -> Result<Stepper, JsError> {
        open(count, &param, &grad, lr, arena).await.map_err(thrown)
    }

    /// Submits `steps` steps, one submit each.
    pub fn step(&mut self, steps: u32) -> Result<(), JsError> {
        (0..steps).try_for_each(|_| self.adam.step().map(drop)).map_err(|error| thrown(error.into()))
    }

    /// A promise of the first tensor's parameters after all steps so far.
    pub fn first(&self) -> Promise {
        let floats = self.read();
        future_to_promise(async move { Ok(Float32Array::from(floats.await.map_err(thrown)?.as_slice()).into()) })
    }
}

impl Stepper {
    fn read(&self) -> impl Future<Output = Result<Vec<f32>>> + use<> {
        let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("readback"),
            size: self.size,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(&self.first.0, self.first.1, &staging, 0, self.size);
        self.queue.submit([encoder.finish()]);
        let (sender, receiver) = oneshot::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |result| drop(sender.send(result)));
        async move {
            receiver.await.ok().context("the device went away")??;
            Ok(bytemuck::pod_collect_to_vec(&staging.get_mapped_range(..)?))
        }
    }
}

async fn open(count: usize, param: &[f32], grad: &[f32], lr: f64, arena: bool) -> Result<Stepper> {
    let options =
        wgpu::RequestAdapterOptions { power_preference: wgpu::PowerPreference::HighPerformance, ..Default::default() };
    let adapter = wgpu::Instance::default().request_adapter(&options).await?;
    let (device, queue) = adapter.request_device(&wgpu::DeviceDescriptor::default()).await?;
    let size = size_of_val(param) as u64;
    let config = AdamConfig { lr, ..AdamConfig::default() };
    let names: Vec<String> = (0..count).map(|number| format!("tensor{number}")).collect();
    let (params, first) = if arena {
        let arena = TensorArena::new(&device, names.iter().map(|name| (name.as_str(), vec![param.len()])))?;
        for name in &names {
            arena.write_param(&queue, name, param)?;
            arena.write_grad(&queue, name, grad)?;
        }
        let place = arena.param_buffer(&names[0])?;
        (arena.params(), (place.buffer().clone(), place.offset()))
    } else {
        let buffer = |values: &[f32]| {
            let buffer = device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size,
                usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            });
            queue.write_buffer(&buffer, 0, bytemuck::cast_slice(values));
            buffer
        };
        let buffers: Vec<_> = names.iter().map(|_| (buffer(param), buffer(grad))).collect();
        let first = buffers.first().map(|(param, _)| param.clone()).ok_or_else(|| anyhow!("no tensors"))?;
        let param = |(name, (values, grad)): (&String, &(wgpu::Buffer, wgpu::Buffer))| {
            Param::new(name.as_str(), vec![param.len()], values, grad)
        };
        (names.iter().zip(&buffers).map(param).collect(), (first, 0))
    };
    let adam = WgpuAdam::new(&device, &queue, params, config)?;
    adam.ready().await?;
    Ok(Stepper { device, queue, adam, first, size })
}

fn thrown(error: anyhow::Error) -> JsError {
    JsError::new(&format!("{error:#}"))
}
