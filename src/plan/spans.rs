//! Spans: parts of a run, stepped by quads or element by element.

use super::runs::Run;

/// A storage prelude of the shaders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Storage {
    /// storage_vec4.wgsl.
    Vec4,
    /// storage_scalar.wgsl.
    Scalar,
}

/// A part of a run for one storage prelude. Places are in elements from the start of the buffers and of the window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Span {
    pub param: u64,
    pub grad: u64,
    pub moment: u64,
    pub length: u64,
    pub class: u32,
    pub first_tensor: u32,
    pub last_tensor: u32,
    pub pieces: u32,
}

/// Below this length one scalar dispatch beats a vec4 dispatch plus a scalar one for the odd ends.
const SCALAR_BELOW: u64 = 1 << 15;

/// Cuts runs that share a dispatch into vec4 spans and scalar spans.
///
/// The odd ends of several runs share one scalar dispatch. A run that is alone is cut only if it is long.
pub(crate) fn cut(runs: &[Run]) -> (Vec<Span>, Vec<Span>) {
    let mut vec4 = Vec::with_capacity(runs.len());
    let mut scalar = Vec::new();
    for run in runs {
        let whole = Span {
            param: run.first.param.start,
            grad: run.first.grad.start,
            moment: run.first.moment,
            length: run.length,
            class: run.first.class,
            first_tensor: run.first.tensor,
            last_tensor: run.last_tensor,
            pieces: run.pieces,
        };
        let head = (4 - whole.param % 4) % 4;
        let body = run.length.saturating_sub(head) / 4 * 4;
        let even = body == run.length;
        let apart = whole.param % 4 != whole.grad % 4;
        let alone_and_short = runs.len() == 1 && run.length < SCALAR_BELOW;
        if apart || body == 0 || (alone_and_short && !even) {
            scalar.push(whole);
            continue;
        }
        let tail = run.length - head - body;
        scalar.extend([whole.part(0, head), whole.part(head + body, tail)].into_iter().filter(|span| span.length > 0));
        vec4.push(whole.part(head, body));
    }
    (vec4, scalar)
}

impl Span {
    /// The part of `length` elements from `start` on.
    pub(crate) fn part(&self, start: u64, length: u64) -> Self {
        Self { param: self.param + start, grad: self.grad + start, moment: self.moment + start, length, ..*self }
    }
}
