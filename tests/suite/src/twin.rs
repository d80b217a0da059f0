//! An optimizer on the GPU beside the float64 reference, stepped and compared together.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use wgpu_adam::{AdamConfig, Param, ParamId, TensorBuffer, WgpuAdam};

use crate::{
    Gpu,
    golden::Key,
    readback::{read_state, read_tensor},
    reference::Reference,
    stats::ulp,
    values::values,
};

/// A parameter on both sides.
pub struct TwinTensor {
    pub name: String,
    pub length: u64,
    pub param: TensorBuffer,
    pub grad: TensorBuffer,
    /// The gradient's values; none if the gradient was removed from the optimizer.
    pub grad_values: Option<Vec<f32>>,
    pub initial: Vec<f32>,
    pub reference: Reference,
}

impl TwinTensor {
    /// A parameter with pseudo-random values, written to its buffer, and a gradient of zeros.
    pub fn new(gpu: &Gpu, name: &str, length: u64, param: TensorBuffer, grad: TensorBuffer) -> Self {
        let seed = name.bytes().fold(7, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(byte.into()) & 0xff_ffff);
        let initial = values(seed, length);
        gpu.queue.write_buffer(param.buffer(), param.offset(), bytemuck::cast_slice(&initial));
        let grad_values = Some(vec![0.0; length as usize]);
        let reference = Reference::new(&initial);
        Self { name: name.into(), length, param, grad, grad_values, initial, reference }
    }

    /// A parameter in separate buffers of exactly its length.
    pub fn alone(gpu: &Gpu, name: &str, length: u64) -> Self {
        let buffer = || TensorBuffer::from(&storage(gpu, length * 4));
        Self::new(gpu, name, length, buffer(), buffer())
    }

    pub fn as_param(&self) -> Param {
        Param::new(self.name.clone(), [self.length as usize], self.param.clone(), self.grad.clone())
    }
}

/// A storage buffer of at least 4 bytes.
pub fn storage(gpu: &Gpu, bytes: u64) -> wgpu::Buffer {
    gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("test"),
        size: bytes.max(4),
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}

pub struct Twin<'a> {
    pub gpu: &'a Gpu,
    pub adam: WgpuAdam,
    pub tensors: Vec<TwinTensor>,
    steps: u64,
    /// The sum of the learning rates so far: roughly the distance that a parameter may have moved.
    moved: f64,
    /// Whether steps may have been skipped; then state dicts have the true counts.
    pub counted_by_device: bool,
}

impl<'a> Twin<'a> {
    pub fn new(gpu: &'a Gpu, tensors: Vec<TwinTensor>, config: AdamConfig) -> Result<Self> {
        let params: Vec<Param> = tensors.iter().map(TwinTensor::as_param).collect();
        let adam = WgpuAdam::new(&gpu.device, &gpu.queue, params, config)?;
        Ok(Self { gpu, adam, tensors, steps: 0, moved: 0.0, counted_by_device: false })
    }

    pub fn id(&self, name: &str) -> Result<ParamId> {
        self.adam.find(name).with_context(|| format!("no parameter {name}"))
    }

    /// Writes new gradients for all that have one, by `queue.write_buffer`.
    pub fn write_grads(&mut self) {
        let step = self.steps + 1;
        for (number, tensor) in (1..).zip(&mut self.tensors) {
            if let Some(grad) = &mut tensor.grad_values {
                *grad = values((number * 4099 + step * 17) & 0xff_ffff, tensor.length);
                self.gpu.queue.write_buffer(tensor.grad.buffer(), tensor.grad.offset(), bytemuck::cast_slice(grad));
            }
        }
    }

    /// Steps the reference with the groups' current options, and counts the step.
    pub fn step_reference(&mut self) -> Result<()> {
        let mut largest = 0.0_f64;
        for group in self.adam.param_groups() {
            let config = group.config();
            largest = largest.max(config.lr);
            for &id in group.params() {
                let name = self.adam.param(id)?.name.context("a tensor without a name")?;
                let tensor = self.tensors.iter_mut().find(|tensor| tensor.name == name).context("unknown name")?;
                if let Some(grad) = &tensor.grad_values {
                    tensor.reference.step(grad, group.config());
                }
            }
        }
        self.steps += 1;
        self.moved += largest;
        Ok(())
    }

    /// New gradients and a step on both sides, in a separate submit.
    pub fn step(&mut self) -> Result<()> {
        self.write_grads();
        self.adam.step()?;
        self.step_reference()
    }

    /// Removes a gradient on both sides.
    pub fn drop_grad(&mut self, index: usize) -> Result<()> {
        let id = self.id(&self.tensors[index].name)?;
        self.tensors[index].grad_values = None;
        Ok(self.adam.set_grad_to_none(id)?)
    }

    /// Restores the gradient.
    pub fn give_grad(&mut self, index: usize) -> Result<()> {
        let tensor = &self.tensors[index];
        let (id, grad) = (self.id(&tensor.name)?, tensor.grad.clone());
        self.tensors[index].grad_values = Some(vec![0.0; self.tensors[index].length as usize]);
        Ok(self.adam.set_grad(id, grad)?)
    }

    /// The steps that the device has taken.
    async fn taken(&self) -> Result<BTreeMap<ParamId, u64>> {
        let state = self.adam.state_dict().await?.state;
        let ids = self.adam.param_groups().iter().flat_map(wgpu_adam::Group::params);
        Ok((0..).zip(ids).filter_map(|(number, &id)| Some((id, state.get(&number)?.step))).collect())
    }

    /// Compares parameters, moments and step counts with the reference.
    pub async fn check(&self, case: &str) -> Result<()> {
        let taken = if self.counted_by_device { Some(self.taken().await?) } else { None };
        for tensor in &self.tensors {
            let id = self.id(&tensor.name)?;
            let state = self.adam.state(id)?;
            let case = format!("{case}: {}", tensor.name);
            let step = taken.as_ref().map_or(state.step, |taken| taken.get(&id).copied().unwrap_or(0));
            if step != tensor.reference.step {
                bail!("{case}: step {step} instead of {}", tensor.reference.step);
            }
            // Loading a state lowers the count, but the parameter keeps the rounding errors of all its steps.
            let steps = tensor.reference.step.max(self.steps).max(1) as f64;
            let param = read_tensor(self.gpu, &tensor.param, tensor.length).await?;
            compare(&format!("{case} param"), &param, &tensor.reference.param, |i, want| {
                let size = want.abs().max(f64::from(tensor.initial[i].abs()));
                steps * ulp(size) + 32.0 * self.moved * f64::from(f32::EPSILON)
            })?;
            // Gradients are below 1, and so are both moments.
            let moment = |_, _: f64| 4.0 * steps.min(1000.0) * f64::from(f32::EPSILON);
            for (key, want) in [(Key::ExpAvg, &tensor.reference.exp_avg), (Key::ExpAvgSq, &tensor.reference.exp_avg_sq)]
            {
                let got = read_state(self.gpu, &state, key).await?;
                compare(&format!("{case} {key}"), &got, want, moment)?;
            }
        }
        Ok(())
    }
}

/// Fails with the first elements that differ by more than they may.
pub fn compare(case: &str, got: &[f32], want: &[f64], allowed: impl Fn(usize, f64) -> f64) -> Result<()> {
    if got.len() != want.len() {
        bail!("{case}: {} elements instead of {}", got.len(), want.len());
    }
    let mut wrong = Vec::new();
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        let (off, allowed) = ((f64::from(got) - want).abs(), allowed(i, want));
        if off.is_nan() || off > allowed {
            wrong.push(format!(
                "[{i}] got {got:e}, want {want:e}: {:.1} ULP, {off:.2e} > {allowed:.2e}",
                off / ulp(want)
            ));
        }
    }
    match wrong.len() {
        0 => Ok(()),
        count => bail!("{case}: {count} elements are off:\n  {}", wrong[..count.min(5)].join("\n  ")),
    }
}

/// Fails where bits differ.
pub fn same_bits(case: &str, got: &[f32], want: &[f32]) -> Result<()> {
    let different = got.iter().zip(want).position(|(got, want)| got.to_bits() != want.to_bits());
    match different {
        Some(i) => bail!("{case} [{i}]: got {:e}, want {:e}", got[i], want[i]),
        None if got.len() != want.len() => bail!("{case}: {} elements instead of {}", got.len(), want.len()),
        None => Ok(()),
    }
}
