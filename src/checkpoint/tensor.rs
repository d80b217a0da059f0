//! A tensor of a checkpoint, on the host.

use crate::checkpoint::dtype::Dtype;
use crate::checkpoint::header;
use crate::error::checkpoint::CheckpointError;

/// A tensor on the host, of any type.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckpointTensor {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl CheckpointTensor {
    /// Creates a tensor of little-endian numbers, row-major.
    ///
    /// # Errors
    /// The length of `bytes` does not fit type and shape, or the shape cannot be in a file: it has more than 64
    /// dimensions, or more bytes than can be counted.
    pub fn new(dtype: Dtype, shape: impl Into<Vec<usize>>, bytes: Vec<u8>) -> Result<Self, CheckpointError> {
        let shape = shape.into();
        let shown = header::shown(&shape);
        let problem = match header::size(dtype, &shape) {
            None => format!("of {dtype:?} has the shape {shown}, which cannot be in a file"),
            Some(size) if size != bytes.len() as u64 => {
                format!("of {dtype:?} and shape {shown} was given {} bytes", bytes.len())
            }
            Some(_) => return Ok(Self { dtype, shape, bytes }),
        };
        Err(CheckpointError::tensor("", problem))
    }

    /// Creates a tensor of f32.
    ///
    /// # Errors
    /// The number of values does not fit the shape.
    pub fn f32(shape: impl Into<Vec<usize>>, values: &[f32]) -> Result<Self, CheckpointError> {
        Self::new(Dtype::F32, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// The type of the numbers.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The shape, row-major.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The numbers, little-endian.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The numbers, if they are f32.
    #[must_use]
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        let word = |word: &[u8]| <[u8; 4]>::try_from(word).ok().map(f32::from_le_bytes);
        if self.dtype == Dtype::F32 { self.bytes.chunks_exact(4).map(word).collect() } else { None }
    }
}
