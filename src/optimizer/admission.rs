//! Checks one parameter or gradient that the caller gives, and turns it into a tensor or a gradient of a registry.

use crate::device::gpu::part;
use crate::error::Error;
use crate::error::tensor::TensorLabel;
use crate::layout::binding;
use crate::plan::Place;
use crate::planes::Format;
use crate::record::stepper::Stepper;
use crate::registry::Registry;
use crate::registry::tensor::{Spot, Tensor};
use crate::tensors::tensor::{Param, TensorBuffer, elements};

/// Checks a parameter and returns it as a tensor. Errors name it by `number`, or by the next number.
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

/// Checks a gradient, also against its parameter, and returns its place.
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
        // One binding must reach a quad of both, wherever the binding begins.
        let bytes =
            Format::PARAM.bytes(param.start.abs_diff(grad.start) + tensor.length.min(4)) + stepper.limits.alignment;
        let allowed = stepper.limits.binding;
        if bytes > allowed {
            return Err(Error::GradientTooFar { tensor: tensor.describe(number), bytes, allowed });
        }
    }
    Ok(spot)
}

/// Returns a place with its buffer's number. Binds a buffer that is new here once as a probe, because a buffer of
/// another device would make the step fail.
fn spot(
    stepper: &Stepper,
    registry: &mut Registry,
    at: &TensorBuffer,
    length: u64,
    tensor: impl Fn() -> TensorLabel,
) -> Result<Spot, Error> {
    let buffer = at.buffer();
    if length > 0 && !registry.buffers.has(buffer) {
        let (gpu, layout) = (&stepper.gpu, &stepper.kernels.layouts.request);
        gpu.guard.run(&tensor().to_string(), || {
            drop(gpu.bind_group("probe of a buffer", layout, [(binding::REQUEST, part(buffer, 0, 4))]));
        })?;
    }
    let place = Place { buffer: registry.buffers.number(buffer), start: Format::PARAM.elements(at.offset()) };
    Ok(Spot { place, padding: at.padding(length) })
}
