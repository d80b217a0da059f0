//! A tensor of the caller: where it lies, its shape, its name.

use std::ops::Range;

use crate::error::Error;
use crate::error::tensor::TensorLabel;

/// Where a tensor of f32 lies: a buffer, and the byte offset of its first element, a multiple of 4.
///
/// Made from `&buffer` or `(&buffer, offset)`, or by an arena. Holds a handle of the buffer, which keeps the buffer
/// alive.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorBuffer {
    buffer: wgpu::Buffer,
    offset: u64,
    /// Known for tensors in an arena.
    extent: Option<Extent>,
}

/// An arena's tensor, or a part of one, at a place.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Extent {
    /// In elements.
    length: u64,
    /// The number of elements after it that belong to it and stay zero.
    padding: u64,
}

impl TensorBuffer {
    /// Returns the buffer.
    #[must_use]
    pub fn buffer(&self) -> &wgpu::Buffer {
        &self.buffer
    }

    /// Returns the first element's offset in the buffer, in bytes.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns a range of the tensor's elements, counted from its first: to step a part of the tensor, or to copy it.
    ///
    /// # Errors
    /// [`SliceOutOfRange`](Error::SliceOutOfRange) for a range that ends before it begins, or that reaches past an
    /// arena's tensor. The length of other tensors is known, and checked, when they are given to an optimizer.
    ///
    /// ```no_run
    /// # fn demo(arena: &wgpu_adam::TensorArena) -> Result<(), wgpu_adam::Error> {
    /// let last_row = arena.param_buffer("embedding")?.slice(48..64)?;
    /// # Ok(()) }
    /// ```
    pub fn slice(&self, elements: Range<u64>) -> Result<Self, Error> {
        self.slice_of(elements, || TensorLabel::other("the tensor"))
    }

    /// Returns a range of the elements. `tensor` is the tensor's label in errors.
    fn slice_of(&self, elements: Range<u64>, tensor: impl Fn() -> TensorLabel) -> Result<Self, Error> {
        let Range { start, end } = elements;
        let length = self.extent.map(|extent| extent.length);
        let out_of_range = || Error::SliceOutOfRange { tensor: tensor(), start, end, length };
        let offset = start.checked_mul(4).and_then(|bytes| bytes.checked_add(self.offset));
        match offset {
            Some(offset) if start <= end && length.is_none_or(|length| end <= length) => {
                let extent = self.extent.map(|extent| Extent {
                    length: end - start,
                    // The padding follows the last element, so only a part with that element has it.
                    padding: if start < end && end == extent.length { extent.padding } else { 0 },
                });
                Ok(Self { buffer: self.buffer.clone(), offset, extent })
            }
            _ => Err(out_of_range()),
        }
    }

    /// Returns the number of elements after a tensor of this length, placed here, that belong to it and stay zero: an
    /// arena's padding. 0 for any other length than that of the arena's own tensor, because other elements, or unknown
    /// ones, follow there.
    pub(crate) fn padding(&self, length: u64) -> u64 {
        self.extent.filter(|extent| extent.length == length).map_or(0, |extent| extent.padding)
    }

    /// The place of an arena's tensor of this length, which has this much padding after it.
    pub(crate) fn in_arena(buffer: &wgpu::Buffer, offset: u64, length: u64, padding: u64) -> Self {
        Self { buffer: buffer.clone(), offset, extent: Some(Extent { length, padding }) }
    }

    /// Checks that `length` elements lie in the buffer, at a multiple of 4 bytes, and that the buffer has the usage.
    pub(crate) fn check(
        &self,
        length: u64,
        usage: wgpu::BufferUsages,
        tensor: impl Fn() -> TensorLabel,
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
        Self { buffer: buffer.clone(), offset: 0, extent: None }
    }
}

impl From<(&wgpu::Buffer, u64)> for TensorBuffer {
    fn from((buffer, offset): (&wgpu::Buffer, u64)) -> Self {
        Self { buffer: buffer.clone(), offset, extent: None }
    }
}

/// A parameter to optimize: its name and shape, where it lies and where its gradient lies.
///
/// The buffers need the usage `STORAGE`. A gradient that [`record_zero_grad`](crate::WgpuAdam::record_zero_grad) is to
/// clear also needs `COPY_DST`. Both buffers must have at least `4 * shape.product()` bytes after their offsets. The
/// shape `[]` is a scalar, which has one element; a shape with a 0 has none. Checked when the parameter is given to an
/// optimizer.
#[derive(Clone, Debug)]
pub struct Param {
    pub(crate) name: Option<String>,
    pub(crate) shape: Vec<usize>,
    pub(crate) param: TensorBuffer,
    pub(crate) grad: Option<TensorBuffer>,
}

impl Param {
    /// Makes a parameter with a gradient, each given as `&buffer` or `(&buffer, byte_offset)`.
    pub fn new(
        name: impl Into<String>,
        shape: impl Into<Vec<usize>>,
        param: impl Into<TensorBuffer>,
        grad: impl Into<TensorBuffer>,
    ) -> Self {
        Self { name: Some(name.into()), shape: shape.into(), param: param.into(), grad: Some(grad.into()) }
    }

    /// Makes a parameter without a gradient: steps leave it out until [`set_grad`](crate::WgpuAdam::set_grad) gives it
    /// one.
    pub fn without_grad(name: impl Into<String>, shape: impl Into<Vec<usize>>, param: impl Into<TensorBuffer>) -> Self {
        Self { name: Some(name.into()), shape: shape.into(), param: param.into(), grad: None }
    }

    /// Returns its name, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Returns its shape.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Returns where its elements lie.
    #[must_use]
    pub fn param_buffer(&self) -> &TensorBuffer {
        &self.param
    }

    /// Returns where its gradient lies, if it has one.
    #[must_use]
    pub fn grad_buffer(&self) -> Option<&TensorBuffer> {
        self.grad.as_ref()
    }

    /// Returns a range of the parameter's elements, and the same range of its gradient, as a parameter of its own: to
    /// train a part of a tensor, or to train it with other options than the rest. The part's name is the tensor's name
    /// and the range, `embedding[96..240]`. Its shape has one dimension.
    ///
    /// # Errors
    /// [`SliceOutOfRange`](Error::SliceOutOfRange) for a range that ends before it begins, or that reaches past the
    /// tensor; [`ShapeTooLarge`](Error::ShapeTooLarge).
    pub fn slice(&self, elements: Range<u64>) -> Result<Self, Error> {
        let shape = vec![usize::try_from(elements.end.saturating_sub(elements.start)).unwrap_or(usize::MAX)];
        self.part(elements, shape)
    }

    /// Returns a range of rows, along the first dimension, like [`slice`](Self::slice). `rows(2..5)` of a tensor with
    /// shape `[10, 48]` is named by its elements, `embedding[96..240]`, and has the shape `[3, 48]`. Rows that are in
    /// no part are frozen.
    ///
    /// ```no_run
    /// # fn demo(arena: &wgpu_adam::TensorArena) -> Result<(), wgpu_adam::Error> {
    /// use wgpu_adam::ParamGroup;
    /// let embedding = arena.tensor("embedding")?;
    /// // Rows 0 to 9 are not trained.
    /// let groups = [ParamGroup::new([embedding.rows(10..100)?]), ParamGroup::new([embedding.rows(100..120)?]).lr(1e-2)];
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As for [`slice`](Self::slice). A scalar has no rows.
    pub fn rows(&self, rows: Range<usize>) -> Result<Self, Error> {
        let Some((_, columns)) = self.shape.split_first() else {
            let (start, end) = (rows.start as u64, rows.end as u64);
            return Err(Error::SliceOutOfRange { tensor: self.describe(), start, end, length: Some(0) });
        };
        let too_large = || Error::ShapeTooLarge { tensor: self.describe(), shape: self.shape.clone() };
        let width = elements(columns).ok_or_else(too_large)?;
        let at = |row: usize| (row as u64).checked_mul(width).ok_or_else(too_large);
        let mut shape = self.shape.clone();
        if let Some(first) = shape.first_mut() {
            *first = rows.len();
        }
        self.part(at(rows.start)?..at(rows.end)?, shape)
    }

    fn part(&self, range: Range<u64>, shape: Vec<usize>) -> Result<Self, Error> {
        let too_large = || Error::ShapeTooLarge { tensor: self.describe(), shape: self.shape.clone() };
        let length = elements(&self.shape).ok_or_else(too_large)?;
        let Range { start, end } = range;
        if start > end || end > length {
            return Err(Error::SliceOutOfRange { tensor: self.describe(), start, end, length: Some(length) });
        }
        let slice = |buffer: &TensorBuffer| buffer.slice_of(start..end, || self.describe());
        Ok(Self {
            name: self.name.as_ref().map(|name| format!("{name}[{start}..{end}]")),
            shape,
            param: slice(&self.param)?,
            grad: self.grad.as_ref().map(slice).transpose()?,
        })
    }

    fn describe(&self) -> TensorLabel {
        let name = self.name.as_ref();
        name.map_or_else(|| TensorLabel::other("the parameter"), |name| TensorLabel::named("parameter", name))
    }

    /// Returns the same parameter without a name. As in torch, either all parameters of an optimizer have names or none
    /// has.
    #[must_use]
    pub fn unnamed(self) -> Self {
        Self { name: None, ..self }
    }
}

/// Returns the number of elements of a shape, or `None` if their bytes overflow a u64.
pub(crate) fn elements(shape: &[usize]) -> Option<u64> {
    let mut elements = 1_u64;
    for &dimension in shape {
        elements = elements.checked_mul(u64::try_from(dimension).ok()?)?;
    }
    elements.checked_mul(4).map(|_| elements)
}
