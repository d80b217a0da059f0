//! Results as a safetensors file, for other programs to check.

use std::borrow::Cow;

use anyhow::{Context, Result};
use safetensors::{Dtype, View};

use crate::{golden::Case, replay::Checkpoint};

/// A tensor that owns its bytes.
struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl View for &Tensor {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// The content of a safetensors file, with `CHECKPOINT.ID.KEY` as in the golden results, and the step counts as int64
/// scalars `CHECKPOINT.ID.step`.
pub fn dump(case: &Case, checkpoints: &[Checkpoint]) -> Result<Vec<u8>> {
    let mut tensors = Vec::new();
    for checkpoint in checkpoints {
        for outcome in &checkpoint.params {
            let prefix = format!("{}.{}", checkpoint.name, outcome.id);
            let step = i64::try_from(outcome.step)?.to_le_bytes().to_vec();
            tensors.push((format!("{prefix}.step"), Tensor { dtype: Dtype::I64, shape: vec![], bytes: step }));
            let spec = case.param(&outcome.id)?;
            for (key, values) in &outcome.values {
                let sample = case.sample(&outcome.id, values)?;
                let shape = if spec.sampled { vec![sample.len()] } else { spec.shape.clone() };
                let bytes = sample.iter().flat_map(|value| value.to_le_bytes()).collect();
                tensors.push((format!("{prefix}.{key}"), Tensor { dtype: Dtype::F32, shape, bytes }));
            }
        }
    }
    let views = tensors.iter().map(|(name, tensor)| (name, tensor));
    safetensors::serialize(views, None).context("writing safetensors")
}
