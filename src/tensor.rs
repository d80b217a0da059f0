//! A tensor of the caller's: where it lies, its shape, its name.

use crate::Error;

/// Where a tensor of f32 lies: a buffer and the byte offset of its first element, a multiple of 4.
///
/// Made from `&buffer` or `(&buffer, offset)`. Holds a handle of the buffer, which keeps it alive.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorBuffer {
    buffer: wgpu::Buffer,
    offset: u64,
    padding: u64,
}

impl TensorBuffer {
    /// The buffer.
    #[must_use]
    pub fn buffer(&self) -> &wgpu::Buffer {
        &self.buffer
    }

    /// The first element's offset in the buffer, in bytes.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Elements behind the tensor that belong to it and stay zero: an arena's padding.
    pub(crate) fn padding(&self) -> u64 {
        self.padding
    }

    pub(crate) fn padded(buffer: &wgpu::Buffer, offset: u64, padding: u64) -> Self {
        Self { buffer: buffer.clone(), offset, padding }
    }

    /// Whether `length` elements lie in the buffer, at a multiple of 4 bytes, and the buffer may be used so.
    pub(crate) fn check(
        &self,
        length: u64,
        usage: wgpu::BufferUsages,
        tensor: impl Fn() -> String,
    ) -> Result<(), Error> {
        let has = self.buffer.usage();
        if !has.contains(usage) {
            return Err(Error::BufferUsage { tensor: tensor(), missing: usage - has, usage: has });
        }
        if !self.offset.is_multiple_of(4) {
            return Err(Error::UnalignedOffset { tensor: tensor(), offset: self.offset });
        }
        let size = self.buffer.size();
        let end = length.checked_mul(4).and_then(|bytes| bytes.checked_add(self.offset));
        match end {
            Some(end) if end <= size => Ok(()),
            _ => Err(Error::BufferTooSmall { tensor: tensor(), elements: length, offset: self.offset, size }),
        }
    }
}

impl From<&wgpu::Buffer> for TensorBuffer {
    fn from(buffer: &wgpu::Buffer) -> Self {
        Self { buffer: buffer.clone(), offset: 0, padding: 0 }
    }
}

impl From<(&wgpu::Buffer, u64)> for TensorBuffer {
    fn from((buffer, offset): (&wgpu::Buffer, u64)) -> Self {
        Self { buffer: buffer.clone(), offset, padding: 0 }
    }
}

/// A parameter to optimize: its name and shape, where it lies and where its gradient lies.
///
/// The buffers need the usage `STORAGE`; a gradient that is to be cleared by
/// [`record_zero_grad`](crate::WgpuAdam::record_zero_grad) needs `COPY_DST` as well. Both must be at least
/// `4 * shape.product()` bytes long behind their offsets; a shape of `[]` is a scalar, of one element, and a shape with
/// a 0 has none. Checked when the parameter is given to an optimizer.
#[derive(Clone, Debug)]
pub struct Param {
    pub(crate) name: Option<String>,
    pub(crate) shape: Vec<usize>,
    pub(crate) param: TensorBuffer,
    pub(crate) grad: Option<TensorBuffer>,
}

impl Param {
    /// A parameter with a gradient, each given as `&buffer` or `(&buffer, byte_offset)`.
    pub fn new(
        name: impl Into<String>,
        shape: impl Into<Vec<usize>>,
        param: impl Into<TensorBuffer>,
        grad: impl Into<TensorBuffer>,
    ) -> Self {
        Self { name: Some(name.into()), shape: shape.into(), param: param.into(), grad: Some(grad.into()) }
    }

    /// A parameter whose gradient is none: steps pass it over until [`set_grad`](crate::WgpuAdam::set_grad) gives it one.
    pub fn without_grad(name: impl Into<String>, shape: impl Into<Vec<usize>>, param: impl Into<TensorBuffer>) -> Self {
        Self { name: Some(name.into()), shape: shape.into(), param: param.into(), grad: None }
    }

    /// The same parameter without a name. As in torch, either all parameters of an optimizer have names or none has.
    #[must_use]
    pub fn unnamed(self) -> Self {
        Self { name: None, ..self }
    }
}

/// The number of elements of a shape, if it can be counted in bytes.
pub(crate) fn elements(shape: &[usize]) -> Option<u64> {
    let mut elements = 1_u64;
    for &dimension in shape {
        elements = elements.checked_mul(u64::try_from(dimension).ok()?)?;
    }
    elements.checked_mul(4).map(|_| elements)
}
