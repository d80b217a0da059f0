//! A model's tensors in two buffers: one of parameters, one of gradients.

mod values;
mod whole;

use std::collections::HashMap;

use crate::device::guard::Guard;
use crate::error::Error;
use crate::error::tensor::TensorLabel;
use crate::planes::Format;
use crate::tensors::tensor::{Param, TensorBuffer, elements};

/// All tensors of a model, or of a part of it, in two buffers with the same layout: one of parameters, one of
/// gradients.
///
/// Each tensor begins at a multiple of 256 bytes and of the device's `min_storage_buffer_offset_alignment`, so that it
/// can be bound by itself. Neighbours in one group are stepped as one: a thousand small tensors in an arena cost what
/// one tensor of their total length costs. The padding between tensors is zero and stays zero under every step. Do not
/// write there.
///
/// Both buffers have the usages `STORAGE`, `COPY_SRC` and `COPY_DST`, and begin as zeros.
///
/// | for | take |
/// |---|---|
/// | [`WgpuAdam::new`](crate::WgpuAdam::new) | [`params`](Self::params): all tensors |
/// | one parameter with other options, or a part of it | [`tensor`](Self::tensor) |
/// | a bind group of one tensor | [`param`](Self::param), [`grad`](Self::grad) |
/// | a bind group of all tensors | [`params_buffer`](Self::params_buffer), [`grads_buffer`](Self::grads_buffer) |
/// | copies, and [`set_grad`](crate::WgpuAdam::set_grad) | [`param_buffer`](Self::param_buffer), [`grad_buffer`](Self::grad_buffer) |
///
/// ```no_run
/// # fn demo(device: &wgpu_adam::wgpu::Device) -> Result<(), wgpu_adam::Error> {
/// use wgpu_adam::TensorArena;
/// // `vec!`, because shapes of different rank are of one type then.
/// let arena = TensorArena::new(device, [("layer0.weight", vec![128, 64]), ("layer0.bias", vec![128])])?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct TensorArena {
    params: wgpu::Buffer,
    grads: wgpu::Buffer,
    tensors: Vec<ArenaTensor>,
    by_name: HashMap<String, usize>,
    device: wgpu::Device,
    guard: Guard,
}

#[derive(Clone, Debug)]
struct ArenaTensor {
    name: String,
    shape: Vec<usize>,
    offset: u64,
    length: u64,
    padding: u64,
}

impl TensorArena {
    /// Lays out tensors, given as names and shapes, in this order, and creates the two buffers. Waits for nothing.
    ///
    /// # Errors
    /// A name given twice, a shape that is too large, buffers larger than the device's `max_buffer_size`, out of
    /// memory, a lost device.
    pub fn new<N: Into<String>, S: Into<Vec<usize>>>(
        device: &wgpu::Device,
        tensors: impl IntoIterator<Item = (N, S)>,
    ) -> Result<Self, Error> {
        Self::with_usage(device, wgpu::BufferUsages::empty(), tensors)
    }

    /// Like [`new`](Self::new), with further usages for the parameter buffer, for example `VERTEX` for splats.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn with_usage<N: Into<String>, S: Into<Vec<usize>>>(
        device: &wgpu::Device,
        usage: wgpu::BufferUsages,
        tensors: impl IntoIterator<Item = (N, S)>,
    ) -> Result<Self, Error> {
        let limits = device.limits();
        let alignment = Format::PARAM.elements(u64::from(limits.min_storage_buffer_offset_alignment).max(256));
        let mut laid_out: Vec<ArenaTensor> = Vec::new();
        let mut by_name = HashMap::new();
        let mut end = 0_u64;
        for (name, shape) in tensors {
            let (name, shape) = (name.into(), shape.into());
            let too_large =
                || Error::ShapeTooLarge { tensor: TensorLabel::named("tensor", &name), shape: shape.clone() };
            let length = elements(&shape).ok_or_else(too_large)?;
            // A tensor without elements gets room too, because a binding cannot be empty.
            let padded = length.max(1).checked_next_multiple_of(alignment).ok_or_else(too_large)?;
            if by_name.insert(name.clone(), laid_out.len()).is_some() {
                return Err(Error::DuplicateName { name });
            }
            let next = end
                .checked_add(padded)
                .filter(|&next| next <= Format::PARAM.elements(u64::MAX))
                .ok_or_else(too_large)?;
            laid_out.push(ArenaTensor {
                name,
                shape,
                offset: Format::PARAM.bytes(end),
                length,
                padding: padded - length,
            });
            end = next;
        }
        let size = Format::PARAM.bytes(end.max(alignment));
        if size > limits.max_buffer_size {
            return Err(Error::DeviceLimit {
                what: "the arena".into(),
                limit: "max_buffer_size",
                needed: size,
                allowed: limits.max_buffer_size,
                remedy: "or divide the tensors among several arenas",
            });
        }
        let own = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let buffer = |label, usage| {
            device.create_buffer(&wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false })
        };
        let guard = Guard::new(device);
        let (params, grads) = guard.run("the arena's buffers", || {
            (buffer("wgpu_adam.arena.param", own | usage), buffer("wgpu_adam.arena.grad", own))
        })?;
        Ok(Self { params, grads, tensors: laid_out, by_name, device: device.clone(), guard })
    }

    /// Waits until the device has created the buffers. On native targets [`new`](Self::new) created them, and the
    /// future is done at once.
    ///
    /// # Errors
    /// In a browser, errors that [`new`](Self::new) could not return: out of memory, a lost device.
    pub async fn ready(&self) -> Result<(), Error> {
        self.guard.ready().await
    }

    /// Returns the arena's tensors as parameters with gradients, in the order in which they were given.
    #[must_use]
    pub fn params(&self) -> Vec<Param> {
        self.tensors.iter().map(|tensor| self.to_param(tensor)).collect()
    }

    /// Returns the named tensor as a parameter with its gradient: for a group, or to take parts of it with
    /// [`Param::rows`] and [`Param::slice`].
    ///
    /// # Errors
    /// No tensor of that name.
    pub fn tensor(&self, name: &str) -> Result<Param, Error> {
        Ok(self.to_param(self.find(name)?))
    }

    fn to_param(&self, tensor: &ArenaTensor) -> Param {
        let (param, grad) = (self.place(&self.params, tensor), self.place(&self.grads, tensor));
        Param::new(tensor.name.clone(), tensor.shape.clone(), param, grad)
    }

    /// Returns the named tensor's parameters as a binding for a bind group, exactly as long as the tensor. If the
    /// tensor has no elements, the binding has one element, which is padding.
    ///
    /// # Errors
    /// No tensor of that name.
    pub fn param(&self, name: &str) -> Result<wgpu::BufferBinding<'_>, Error> {
        self.binding(&self.params, name)
    }

    /// Returns the named tensor's gradient as a binding for a bind group, like [`param`](Self::param).
    ///
    /// # Errors
    /// No tensor of that name.
    pub fn grad(&self, name: &str) -> Result<wgpu::BufferBinding<'_>, Error> {
        self.binding(&self.grads, name)
    }

    /// Returns where the named tensor's parameters lie, for copies.
    ///
    /// # Errors
    /// No tensor of that name.
    pub fn param_buffer(&self, name: &str) -> Result<TensorBuffer, Error> {
        Ok(self.place(&self.params, self.find(name)?))
    }

    /// Returns where the named tensor's gradient lies, for copies and for [`set_grad`](crate::WgpuAdam::set_grad).
    ///
    /// # Errors
    /// No tensor of that name.
    pub fn grad_buffer(&self, name: &str) -> Result<TensorBuffer, Error> {
        Ok(self.place(&self.grads, self.find(name)?))
    }

    fn find(&self, name: &str) -> Result<&ArenaTensor, Error> {
        let found = self.by_name.get(name).and_then(|&index| self.tensors.get(index));
        found.ok_or_else(|| Error::NoSuchTensor { name: name.into(), nearest: nearest(name, self.names()) })
    }

    fn place(&self, buffer: &wgpu::Buffer, tensor: &ArenaTensor) -> TensorBuffer {
        TensorBuffer::in_arena(buffer, tensor.offset, tensor.length, tensor.padding)
    }

    fn binding<'a>(&self, buffer: &'a wgpu::Buffer, name: &str) -> Result<wgpu::BufferBinding<'a>, Error> {
        let tensor = self.find(name)?;
        let size = wgpu::BufferSize::new(Format::PARAM.bytes(tensor.length.max(1)));
        Ok(wgpu::BufferBinding { buffer, offset: tensor.offset, size })
    }
}

/// Returns the names that are most like this one: the nearest first, and at most three.
fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    const SHOWN: usize = 3;
    let mut nearest: Vec<(usize, &str)> = Vec::new();
    for own in names {
        let distance = distance(name, own);
        let at = nearest.iter().take_while(|(other, _)| *other <= distance).count();
        nearest.insert(at, (distance, own));
        nearest.truncate(SHOWN);
    }
    nearest.into_iter().map(|(_, name)| name.to_owned()).collect()
}

/// Returns how many letters must be added, removed or replaced to turn one name into the other (Levenshtein's
/// distance).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut above: Vec<usize> = (0..=other.len()).collect();
    for (row, letter) in (1..).zip(one.chars()) {
        let mut left = row;
        let mut diagonal = row - 1;
        for (cell, own) in above.iter_mut().skip(1).zip(&other) {
            let replaced = diagonal + usize::from(*own != letter);
            diagonal = *cell;
            left = replaced.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = above.first_mut() {
            *first = row;
        }
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn names_that_are_alike() {
        for (one, other, want) in
            [("", "", 0), ("", "ab", 2), ("bias", "bias", 0), ("bais", "bias", 2), ("weight", "weights", 1)]
        {
            assert_eq!((distance(one, other), distance(other, one)), (want, want), "{one} {other}");
        }
        let names = ["layer0.weight", "layer0.bias", "layer1.weight", "layer1.bias", "head"];
        assert_eq!(nearest("layer1.bais", names.into_iter()), ["layer1.bias", "layer0.bias", "layer1.weight"]);
        assert_eq!(nearest("x", [].into_iter()), Vec::<String>::new());
    }
}
