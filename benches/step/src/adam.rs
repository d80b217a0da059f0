//! Optimizers to measure: tensors in an arena, in separate buffers, or packed into one buffer.

use anyhow::{Context, Result};
use wgpu_adam::{AdamConfig, GradientControl, Param, ParamGroup, ParamId, TensorArena, TensorBuffer, WgpuAdam};

use crate::device::{Gpu, Span};
use crate::models::Shapes;
use crate::rounds::Contender;

/// An optimizer and its tensors, in order.
pub struct Adam {
    pub optimizer: WgpuAdam,
    pub tensors: Vec<Tensor>,
    pub groups: usize,
    /// With `change`: the tenth that lacks its gradients at the next step.
    next: usize,
    changing: bool,
}

/// A tensor and its place.
pub struct Tensor {
    pub id: ParamId,
    pub elements: u64,
    pub param: TensorBuffer,
    pub grad: TensorBuffer,
}

/// A tensor for a new optimizer.
struct Given {
    name: String,
    shape: Vec<usize>,
    param: TensorBuffer,
    grad: TensorBuffer,
}

impl Adam {
    /// Tensors in an arena, assigned to the groups in turn, so that no neighbours share a group.
    pub fn arena(gpu: &Gpu, shapes: &Shapes, groups: usize, config: AdamConfig) -> Result<Self> {
        let arena = TensorArena::new(&gpu.device, shapes.iter().cloned())?;
        let given = shapes.iter().map(|(name, shape)| {
            let (param, grad) = (arena.param_buffer(name)?, arena.grad_buffer(name)?);
            Ok(Given { name: name.clone(), shape: shape.clone(), param, grad })
        });
        Self::new(gpu, given.collect::<Result<_>>()?, groups, config)
    }

    /// One tensor.
    pub fn one(gpu: &Gpu, elements: u64, config: AdamConfig) -> Result<Self> {
        Self::arena(gpu, &vec![("tensor".into(), vec![usize::try_from(elements)?])], 1, config)
    }

    /// Each tensor and each gradient in a separate buffer.
    pub fn own(gpu: &Gpu, shapes: &Shapes) -> Result<Self> {
        let given = shapes.iter().map(|(name, shape)| {
            let elements = shape.iter().product::<usize>() as u64;
            let (param, grad) = ((&gpu.storage(elements)).into(), (&gpu.storage(elements)).into());
            Given { name: name.clone(), shape: shape.clone(), param, grad }
        });
        Self::new(gpu, given.collect(), 1, AdamConfig::default())
    }

    /// All tensors in one buffer without padding, and all gradients in another.
    pub fn packed(gpu: &Gpu, shapes: &Shapes) -> Result<Self> {
        let elements = crate::models::elements(shapes);
        let (params, grads) = (gpu.storage(elements), gpu.storage(elements));
        let mut offset = 0;
        let given = shapes.iter().map(|(name, shape)| {
            let (param, grad) = ((&params, offset).into(), (&grads, offset).into());
            offset += 4 * shape.iter().product::<usize>() as u64;
            Given { name: name.clone(), shape: shape.clone(), param, grad }
        });
        Self::new(gpu, given.collect(), 1, AdamConfig::default())
    }

    /// Fills parameters and gradients in turn, tensor by tensor.
    fn new(gpu: &Gpu, given: Vec<Given>, groups: usize, config: AdamConfig) -> Result<Self> {
        let span =
            |place: &TensorBuffer, elements| Span { buffer: place.buffer().clone(), offset: place.offset(), elements };
        let elements = |given: &Given| given.shape.iter().product::<usize>() as u64;
        let places =
            given.iter().flat_map(|tensor| [&tensor.param, &tensor.grad].map(|place| span(place, elements(tensor))));
        gpu.fill(places)?;
        let group = |group: usize| {
            let own = given.iter().skip(group).step_by(groups);
            let params = own.map(|t| Param::new(t.name.clone(), t.shape.clone(), t.param.clone(), t.grad.clone()));
            vary(ParamGroup::new(params), group, &config)
        };
        let optimizer = WgpuAdam::new(&gpu.device, &gpu.queue, (0..groups).map(group).collect::<Vec<_>>(), config)?;
        let tensors = given.iter().map(|given| {
            let id = optimizer.find(&given.name).context("a tensor was lost")?;
            Ok(Tensor { id, elements: elements(given), param: given.param.clone(), grad: given.grad.clone() })
        });
        let tensors = tensors.collect::<Result<_>>()?;
        Ok(Self { optimizer, tensors, groups, next: 0, changing: false })
    }

    /// Clips gradients by norm, and skips steps whose gradients are not finite.
    pub fn controlled(mut self) -> Result<Self> {
        let control = GradientControl { max_norm: Some(1.0), skip_nonfinite: true, ..Default::default() };
        self.optimizer.set_gradient_control(control)?;
        Ok(self)
    }

    /// Removes every tenth tensor's gradient.
    pub fn missing(mut self) -> Result<Self> {
        for tensor in self.tensors.iter().step_by(10) {
            self.optimizer.set_grad_to_none(tensor.id)?;
        }
        self.next = 1;
        Ok(self)
    }

    /// Before every step, removes the gradients of the next tenth and restores those of the last.
    pub fn changing(self) -> Result<Self> {
        Ok(Self { changing: true, ..self.missing()? })
    }

    /// The number of elements with gradients.
    pub fn elements(&self) -> Result<u64> {
        let mut elements = 0;
        for tensor in &self.tensors {
            elements += if self.optimizer.param(tensor.id)?.has_grad { tensor.elements } else { 0 };
        }
        Ok(elements)
    }

    /// The buffer of each tensor's state; no tensor is cut.
    pub fn state(&self) -> Result<Vec<wgpu::Buffer>> {
        let buffer = |tensor: &Tensor| {
            let pieces = self.optimizer.state(tensor.id)?.pieces;
            Ok(pieces.into_iter().next().context("a tensor without state")?.buffer)
        };
        self.tensors.iter().map(buffer).collect()
    }

    /// Bytes of state per element of the parameters, including padding.
    pub fn state_bytes_per_element(&self) -> Result<f64> {
        let mut buffers: Vec<wgpu::Buffer> = Vec::new();
        for tensor in &self.tensors {
            for piece in self.optimizer.state(tensor.id)?.pieces {
                if !buffers.contains(&piece.buffer) {
                    buffers.push(piece.buffer);
                }
            }
        }
        let bytes: u64 = buffers.iter().map(wgpu::Buffer::size).sum();
        Ok(bytes as f64 / self.tensors.iter().map(|tensor| tensor.elements).sum::<u64>() as f64)
    }

    /// The number of dispatches of the last step.
    pub fn dispatches(&self) -> usize {
        self.optimizer.dispatch_count()
    }
}

/// Options that no two groups share.
fn vary(group: ParamGroup, number: usize, config: &AdamConfig) -> ParamGroup {
    if number == 0 {
        return group;
    }
    let part = number as f64 / 100.0;
    let group = group.lr(config.lr * (1.0 + part)).betas((0.9 - part / 10.0, 0.999 - part / 100.0));
    if number.is_multiple_of(2) { group } else { group.weight_decay(part) }
}

impl Contender for Adam {
    fn prepare(&mut self) -> Result<()> {
        if self.changing {
            let (next, last) = (self.next % 10, (self.next + 9) % 10);
            for tensor in self.tensors.iter().skip(last).step_by(10) {
                self.optimizer.set_grad(tensor.id, tensor.grad.clone())?;
            }
            for tensor in self.tensors.iter().skip(next).step_by(10) {
                self.optimizer.set_grad_to_none(tensor.id)?;
            }
            self.next += 1;
        }
        Ok(())
    }

    fn encode(&mut self, encoder: &mut wgpu::CommandEncoder) -> Result<()> {
        Ok(self.optimizer.record_step(encoder)?)
    }
}
