//! A tensor of the registry: a parameter, its gradient, where they lie.

use std::ops::Range as Indices;

use super::overlap::Range;
use crate::error::tensor::TensorLabel;
use crate::plan::Place;

/// What the optimizer knows about a parameter.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    pub name: Option<String>,
    pub shape: Vec<usize>,
    pub length: u64,
    pub group: u32,
    /// t: the steps it has taken.
    pub step: u64,
    /// Tensors with equal histories and equal step counts have skipped equally many steps. 0 while no step can be
    /// skipped.
    pub history: u32,
    /// Like `history`, but counts only steps since the device was last asked for the counts of skipped steps.
    pub(super) history_since: u32,
    pub param: Spot,
    pub grad: Option<Spot>,
    /// Whether its state is zero because nothing recorded so far has touched it. Only such state may move.
    pub is_fresh: bool,
    /// Its pieces, as indices into the registry's.
    pub(super) pieces: Indices<usize>,
}

/// A place in a numbered buffer, in elements, and the zero padding behind the tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spot {
    pub place: Place,
    pub padding: u64,
}

impl Tensor {
    /// A tensor that has taken no step and has no gradient and no state yet.
    pub(crate) fn new(name: Option<String>, shape: Vec<usize>, length: u64, group: u32, param: Spot) -> Self {
        let (step, history, history_since, grad, pieces) = (0, 0, 0, None, 0..0);
        Self { name, shape, length, group, step, history, history_since, param, grad, is_fresh: true, pieces }
    }

    /// How errors name it.
    pub(crate) fn describe(&self, number: u32) -> TensorLabel {
        TensorLabel::parameter(self.name.as_deref(), number)
    }

    pub(crate) fn describe_grad(&self, number: u32) -> TensorLabel {
        TensorLabel::gradient(self.name.as_deref(), number)
    }

    /// The range of the parameter. It includes the padding, because steps may write zeros there.
    pub(super) fn param_range(&self, number: u32) -> Range {
        let Spot { place, padding } = self.param;
        Range { buffer: place.buffer, start: place.start, end: place.start + self.length + padding, tensor: number }
    }

    /// The range of a gradient at this place. It excludes the padding, which is only read and may belong to anyone.
    pub(super) fn grad_range(&self, grad: Spot, number: u32) -> Range {
        let Place { buffer, start } = grad.place;
        Range { buffer, start, end: start + self.length, tensor: number }
    }
}
