//! What the caller gives, checked by itself: it becomes a tensor, or a gradient, of a registry.

use crate::error::Error;
use crate::error::tensor::TensorLabel;
use crate::layout::binding;
use crate::plan::Place;
use crate::planes::Format;
use crate::record::stepper::Stepper;
use crate::registry::Registry;
use crate::registry::tensor::{Spot, Tensor};
use crate::tensors::tensor::{Param, TensorBuffer, elements};

/// A parameter as a tensor of this number, or of the next.
pub(super) fn param(
    stepper: &Stepper,
    registry: &mut Registry,
    param: Param,
    number: Option<u32>,
    group: u32,
) -> Result<Tensor, Error> {
    let number = number.unwrap_or_else(|| registry.next_number());
    let Param { name, shape, param, grad: own_grad } = param;
    let place = Place { buffer: u32::MAX, start: 0 };
    let mut tensor = Tensor::new(name, shape, 0, group, Spot { place, padding: 0 });
    let too_large = || Error::ShapeTooLarge { tensor: tensor.describe(number), shape: tensor.shape.clone() };
    tensor.length = elements(&tensor.shape).ok_or_else(too_large)?;
    param.check(tensor.length, wgpu::BufferUsages::STORAGE, || tensor.describe(number))?;
    tensor.param = spot(stepper, registry, &param, tensor.length, || tensor.describe(number))?;
    if let Some(own_grad) = own_grad {
        tensor.grad = Some(grad(stepper, registry, &tensor, number, &own_grad)?);
    }
    Ok(tensor)
}

/// A gradient, checked against its parameter too.
pub(super) fn grad(
    stepper: &Stepper,
    registry: &mut Registry,
    tensor: &Tensor,
    number: u32,
    grad: &TensorBuffer,
) -> Result<Spot, Error> {
    grad.check(tensor.length, wgpu::BufferUsages::STORAGE, || tensor.describe_grad(number))?;
    let spot = spot(stepper, registry, grad, tensor.length, || tensor.describe_grad(number))?;
    let (param, grad) = (tensor.param.place, spot.place);
    if param.buffer == grad.buffer && tensor.length > 0 {
        // A quad of both must be within one binding, wherever that may begin.
        let bytes =
            Format::PARAM.bytes(param.start.abs_diff(grad.start) + tensor.length.min(4)) + stepper.limits.alignment;
        let allowed = stepper.limits.binding;
        if bytes > allowed {
            return Err(Error::GradientTooFar { tensor: tensor.describe(number), bytes, allowed });
        }
    }
    Ok(spot)
}

/// A place in a buffer by the buffer's number. A buffer that is new here is tried on the device: one of another device
/// would fail the step.
fn spot(
    stepper: &Stepper,
    registry: &mut Registry,
    at: &TensorBuffer,
    length: u64,
    tensor: impl Fn() -> TensorLabel,
) -> Result<Spot, Error> {
    let buffer = at.buffer();
    if length > 0 && !registry.buffers.has(buffer) {
        let layout = &stepper.kernels.layouts.request;
        stepper.gpu.guard.run(&tensor().to_string(), || {
            let part = wgpu::BufferBinding { buffer, offset: 0, size: wgpu::BufferSize::new(4) };
            let (_, binding) = binding::REQUEST;
            let entries = &[wgpu::BindGroupEntry { binding, resource: wgpu::BindingResource::Buffer(part) }];
            let label = Some("wgpu_adam.is_of_this_device");
            drop(stepper.gpu.device.create_bind_group(&wgpu::BindGroupDescriptor { label, layout, entries }));
        })?;
    }
    let place = Place { buffer: registry.buffers.number(buffer), start: Format::PARAM.elements(at.offset()) };
    Ok(Spot { place, padding: at.padding(length) })
}
