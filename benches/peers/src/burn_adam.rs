//! burn's Adam: its optimizer steps a module of parameters, on the same device as ours.

use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use burn::module::{Module, Param};
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::wgpu::WgpuSetup;
use burn::tensor::{Device, Tensor, TensorData};
use wgpu_adam_bench::device::Values;

use crate::contender::{Case, Contender, LR, SAMPLE};

/// Registers the device with burn, once.
pub fn device(setup: WgpuSetup) -> Result<Device> {
    Ok(Device::wgpu_options().setup(setup).init().map_err(|error| anyhow!("{error}"))?.autodiff())
}

#[derive(Module, Debug)]
struct Tensors {
    tensors: Vec<Param<Tensor<1>>>,
}

/// The module and its optimizer, as in a training loop.
pub struct Burn {
    device: Device,
    optimizer: ModuleOptimizer,
    /// `None` only during a step.
    module: Option<Tensors>,
    grads: Vec<Tensor<1>>,
    registered: GradientsParams,
}

impl Burn {
    pub fn new(device: &Device, case: Case) -> Result<Self> {
        let values = Values::default();
        let inner = device.clone().inner();
        let tensors = (0..case.tensors).map(|tensor| Param::from_data(data(case.param(&values, tensor)), device));
        let module = Tensors { tensors: tensors.collect() };
        let grads = (0..case.tensors).map(|tensor| Tensor::from_data(data(case.grad(&values, tensor)), &inner));
        let grads = grads.collect();
        inner.sync()?;
        // burn's default for eps is not torch's.
        let optimizer = AdamConfig::new().with_epsilon(1e-8).init();
        Ok(Self { device: inner, optimizer, module: Some(module), grads, registered: GradientsParams::new() })
    }
}

fn data(values: Vec<f32>) -> TensorData {
    let length = values.len();
    TensorData::new(values, [length])
}

impl Contender for Burn {
    fn name(&self) -> String {
        "burn 0.22.1, wgpu, fusion".into()
    }

    /// Provides the gradients, as a backward pass would.
    fn prepare(&mut self) -> Result<()> {
        let module = self.module.as_ref().context("the module was lost")?;
        self.registered = GradientsParams::new();
        for (param, grad) in module.tensors.iter().zip(&self.grads) {
            self.registered.register(param.id, grad.clone());
        }
        Ok(())
    }

    fn step(&mut self) -> Result<f64> {
        let module = self.module.take().context("the module was lost")?;
        let grads = std::mem::take(&mut self.registered);
        let begin = Instant::now();
        self.module = Some(self.optimizer.step(LR, module, grads));
        self.device.sync()?;
        Ok(begin.elapsed().as_secs_f64() * 1e3)
    }

    fn sample(&mut self, tensor: usize) -> Result<Option<Vec<f32>>> {
        let module = self.module.as_ref().context("the module was lost")?;
        let values = module.tensors.get(tensor).context("no such tensor")?.val().try_into_data()?;
        let values = values.try_to_vec::<f32>().map_err(|error| anyhow!("{error:?}"))?;
        Ok(Some(values.into_iter().take(SAMPLE).collect()))
    }
}
