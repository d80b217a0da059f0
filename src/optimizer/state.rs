//! Looking at parameters: their properties, and where their state lies.

use crate::error::Error;
use crate::optimizer::WgpuAdam;
use crate::planes::Plane;
use crate::registry::group::ParamId;
use crate::registry::windows::Piece;

/// Where a parameter's state lies, for the caller's own shaders and copies. Read it at any time. Write it only between
/// steps, in the order of submits.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ParamState {
    /// t: the number of steps the parameter has taken. At 0 all state is zero.
    pub step: u64,
    /// The state in the order of the tensor's elements. One piece, unless the tensor is larger than a binding may be.
    pub pieces: Vec<StatePiece>,
}

/// The state of a part of a parameter. The buffer has the usages `STORAGE`, `COPY_SRC` and `COPY_DST`. Each offset is
/// in bytes and a multiple of 4; `length` elements of f32 begin there. Bindings need larger multiples: bind the whole buffer,
/// which always fits one binding, and pass the shader the offset divided by 4.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StatePiece {
    /// The part's first element in the tensor.
    pub start: u64,
    /// The number of elements.
    pub length: u64,
    /// The buffer, which also holds state of other parameters.
    pub buffer: wgpu::Buffer,
    /// Offset of the first element's `exp_avg`.
    pub exp_avg: u64,
    /// Offset of the first element's `exp_avg_sq`.
    pub exp_avg_sq: u64,
    /// Offset of the first element's `max_exp_avg_sq`; `None` without amsgrad, unless amsgrad was on before.
    pub max_exp_avg_sq: Option<u64>,
}

/// What an optimizer knows about a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct ParamInfo<'a> {
    /// Its name, if it has one.
    pub name: Option<&'a str>,
    /// Its shape.
    pub shape: &'a [usize],
    /// t, torch's `state["step"]`: the number of steps recorded, whether submitted or not.
    pub step: u64,
    /// Whether it has a gradient. If so, it takes part in the next step.
    pub has_grad: bool,
    /// The number of its group.
    pub group: usize,
}

impl WgpuAdam {
    /// Returns where a parameter's state lies. The state stays there until a state dict is loaded, the parameter is
    /// replaced or removed, amsgrad is switched on, or [`record_defragment`](Self::record_defragment) moves it.
    ///
    /// # Errors
    /// An id of another optimizer or of a removed parameter.
    pub fn state(&self, id: ParamId) -> Result<ParamState, Error> {
        self.tensor(id)?;
        for piece in self.registry.pieces_of(id.index) {
            if let Some(window) = self.registry.window(piece.window) {
                window.lend();
            }
        }
        let pieces = self.registry.pieces_of(id.index).iter().filter(|piece| piece.length > 0);
        let piece = |piece: &Piece| {
            let offset = |plane| Some(self.registry.plane_part(piece, plane)?.offset);
            Some(StatePiece {
                start: piece.start,
                length: piece.length,
                buffer: self.registry.window(piece.window)?.buffer.clone(),
                exp_avg: offset(Plane::ExpAvg)?,
                exp_avg_sq: offset(Plane::ExpAvgSq)?,
                max_exp_avg_sq: offset(Plane::MaxExpAvgSq),
            })
        };
        Ok(ParamState { step: self.tensor(id)?.step, pieces: pieces.filter_map(piece).collect() })
    }

    /// Returns what the optimizer knows about a parameter.
    ///
    /// # Errors
    /// An id of another optimizer or of a removed parameter.
    pub fn param(&self, id: ParamId) -> Result<ParamInfo<'_>, Error> {
        let tensor = self.tensor(id)?;
        Ok(ParamInfo {
            name: tensor.name.as_deref(),
            shape: &tensor.shape,
            step: tensor.step,
            has_grad: tensor.grad.is_some(),
            group: tensor.group as usize,
        })
    }

    /// Returns the ids of all parameters, group by group, in the order of a state dict.
    pub fn params(&self) -> impl Iterator<Item = ParamId> {
        self.registry.groups.iter().flat_map(|group| group.params().iter().copied())
    }
}
