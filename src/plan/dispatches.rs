//! Makes dispatches of spans that share buffers and code, within the device's limits.

use super::dispatch::{Binding, Dispatch, Kernel, Plan};
use super::grids::{fold, most_workgroups};
use super::input::{Code, Input, Limits};
use super::runs::Run;
use super::spans::{self, Span, Storage};
use crate::layout::{Frame, HYPERS, TILE_ELEMENTS, Tile};
use crate::planes::Format;
use crate::sort::sort_by;

/// Spans from this length on get a flat dispatch of their own: the time it saves per element then exceeds its cost.
const FLAT_FROM: u64 = 1 << 18;

/// Runs with equal keys may share a dispatch. The window implies the parameter buffer.
type Key = (u32, u32, Code, u32);

fn key(run: &Run, input: &Input) -> Key {
    let code = input.classes.get(run.first.class as usize).map_or(Code::default(), |class| class.code);
    (run.first.window, run.first.grad.buffer, code, run.first.class / HYPERS)
}

pub(super) fn plan(runs: &mut Vec<Run>, input: &Input, planes: &[u64], limits: &Limits) -> Plan {
    let apart = input.classes.len() as u64 * u64::from(limits.hyper_alignment) <= u64::from(HYPERS);
    let hyper_stride = if apart { limits.hyper_alignment } else { 1 };
    let mut plan = Plan { hyper_stride, ..Plan::default() };
    // The sort is stable: runs with equal keys keep the order of their places.
    sort_by(runs, |a, b| key(a, input).cmp(&key(b, input)));
    for runs in runs.chunk_by(|a, b| key(a, input) == key(b, input)) {
        let Some(first) = runs.first() else { continue };
        let (.., code, class_window) = key(first, input);
        let (vec4, scalar) = spans::cut(runs);
        for (storage, spans) in [(Storage::Vec4, vec4), (Storage::Scalar, scalar)] {
            let shared = Shared {
                storage,
                code,
                param_buffer: first.first.param.buffer,
                grad_buffer: first.first.grad.buffer,
                window: first.first.window,
                plane: planes.get(first.first.window as usize).map_or(0, |&plane| plane as u32),
                first_class: class_window * HYPERS,
                hyper_stride,
                may_be_flat: apart,
            };
            shared.dispatch(spans, limits, &mut plan);
        }
    }
    plan
}

/// What the spans of some dispatches share.
struct Shared {
    storage: Storage,
    code: Code,
    param_buffer: u32,
    grad_buffer: u32,
    window: u32,
    plane: u32,
    first_class: u32,
    hyper_stride: u32,
    may_be_flat: bool,
}

impl Shared {
    fn dispatch(&self, spans: Vec<Span>, limits: &Limits, plan: &mut Plan) {
        let spans = self.within_reach(spans, limits);
        // A span that is alone needs no tile records.
        let alone = spans.len() == 1;
        let is_flat = |span: &Span| self.may_be_flat && (alone || span.length >= FLAT_FROM);
        let (flat, tiled): (Vec<Span>, Vec<Span>) = spans.into_iter().partition(is_flat);
        for span in &flat {
            self.flat(span, limits, plan);
        }
        let mut batch = Batch::default();
        for span in tiled {
            self.batch(span, &mut batch, limits, plan);
        }
        self.flush(&mut batch, plan, limits);
    }

    fn grad_in_param_buffer(&self) -> bool {
        self.param_buffer == self.grad_buffer
    }

    /// Cuts spans whose parameters and gradients lie in one buffer, too far apart for one binding to cover both. Where
    /// they lie in two buffers, nothing is cut: a window is small enough for a binding.
    fn within_reach(&self, spans: Vec<Span>, limits: &Limits) -> Vec<Span> {
        let mut cut = Vec::with_capacity(spans.len());
        for mut rest in spans {
            while self.grad_in_param_buffer() && !self.extents(&rest).fit(limits) {
                let apart = Format::PARAM.bytes(rest.param.abs_diff(rest.grad)) + limits.alignment;
                let length = (Format::PARAM.elements(limits.binding.saturating_sub(apart)) / 4 * 4).max(4);
                if length >= rest.length {
                    break;
                }
                cut.push(rest.part(0, length));
                rest = rest.part(length, rest.length - length);
            }
            cut.push(rest);
        }
        cut
    }

    fn extents(&self, span: &Span) -> Extents {
        let extent =
            |start: u64| Extent { begin: Format::PARAM.bytes(start), end: Format::PARAM.bytes(start + span.length) };
        let (param, grad) = (extent(span.param), extent(span.grad));
        if self.grad_in_param_buffer() {
            Extents { param: param.and(grad), grad: None }
        } else {
            Extents { param, grad: Some(grad) }
        }
    }

    fn flat(&self, span: &Span, limits: &Limits, plan: &mut Plan) {
        let quads_log2 = limits.sharing.flat_quads_log2(span.length, limits.workgroup_size);
        let per_workgroup = u64::from(limits.workgroup_size) << (2 + quads_log2);
        let per_dispatch = most_workgroups(limits) * per_workgroup;
        let mut start = 0;
        while start < span.length {
            let part = span.part(start, per_dispatch.min(span.length - start));
            let workgroups = fold(part.length.div_ceil(per_workgroup), limits);
            let mut dispatch = self.base(self.extents(&part), workgroups, limits);
            let place = self.tile(&part, &dispatch);
            dispatch.frame = Frame {
                param: place.param,
                grad: place.grad,
                moment: place.moment,
                length: part.length as u32,
                ..dispatch.frame
            };
            dispatch.kernel.quads_log2 = quads_log2;
            dispatch.kernel.at_start = (place.param, place.grad, place.moment) == (0, 0, 0);
            dispatch.first_hyper = part.class * self.hyper_stride;
            dispatch.tensors = (part.first_tensor, part.last_tensor);
            dispatch.pieces = part.pieces;
            plan.dispatches.push(dispatch);
            start += part.length;
        }
    }

    /// Adds a span to the batch, and flushes the batch whenever its bindings or its grid are full.
    fn batch(&self, mut span: Span, batch: &mut Batch, limits: &Limits, plan: &mut Plan) {
        let records = |length: u64| length.div_ceil(u64::from(TILE_ELEMENTS));
        let most =
            (most_workgroups(limits) * limits.tiles_of_workgroup()).min(limits.binding / size_of::<Tile>() as u64);
        loop {
            let extents = self.extents(&span);
            let together = batch.extents.map_or(extents, |all| all.and(extents));
            if !batch.spans.is_empty() && (batch.records == most || !together.fit(limits)) {
                self.flush(batch, plan, limits);
                continue;
            }
            let room = (most - batch.records) * u64::from(TILE_ELEMENTS);
            let part = span.part(0, span.length.min(room));
            batch.records += records(part.length);
            batch.extents = Some(together);
            batch.spans.push(part);
            if part.length == span.length {
                return;
            }
            span = span.part(part.length, span.length - part.length);
        }
    }

    /// Turns the batch into a tiled dispatch.
    fn flush(&self, batch: &mut Batch, plan: &mut Plan, limits: &Limits) {
        let Batch { spans, records, extents } = std::mem::take(batch);
        let (Some(first), Some(last), Some(extents)) = (spans.first(), spans.last(), extents) else { return };
        let workgroups = fold(records.div_ceil(limits.tiles_of_workgroup()), limits);
        let mut dispatch = self.base(extents, workgroups, limits);
        // A binding begins at an aligned offset.
        let aligned = limits.alignment as usize / size_of::<Tile>();
        plan.tiles.resize(plan.tiles.len().next_multiple_of(aligned), Tile::default());
        let begin = plan.tiles.len() as u64;
        for span in &spans {
            for start in (0..span.length).step_by(TILE_ELEMENTS as usize) {
                let part = span.part(start, u64::from(TILE_ELEMENTS).min(span.length - start));
                plan.tiles.push(self.tile(&part, &dispatch));
            }
        }
        dispatch.tiles = Some((begin, begin + records));
        dispatch.kernel.tiled = true;
        dispatch.kernel.quads_log2 = limits.sharing.tile_quads_log2;
        dispatch.frame.length = records as u32;
        dispatch.tensors = (first.first_tensor, last.last_tensor);
        dispatch.pieces = spans.iter().map(|span| span.pieces).sum();
        plan.dispatches.push(dispatch);
    }

    /// A dispatch with bindings over these extents. The caller fills in what it steps.
    fn base(&self, extents: Extents, workgroups: (u32, u32), limits: &Limits) -> Dispatch {
        Dispatch {
            kernel: Kernel {
                storage: self.storage,
                tiled: false,
                quads_log2: 0,
                at_start: false,
                grad_in_param_buffer: self.grad_in_param_buffer(),
                code: self.code,
            },
            param: extents.param.bind(self.param_buffer, limits),
            grad: extents.grad.map(|grad| grad.bind(self.grad_buffer, limits)),
            window: self.window,
            tiles: None,
            first_hyper: self.first_class * self.hyper_stride,
            frame: Frame { plane: self.plane, ..Frame::default() },
            workgroups,
            tensors: (0, 0),
            pieces: 0,
        }
    }

    /// The tile record of a span in the dispatch's bindings. If the span has more than [`TILE_ELEMENTS`], only the
    /// places are valid.
    fn tile(&self, span: &Span, dispatch: &Dispatch) -> Tile {
        let grad_offset = dispatch.grad.map_or(dispatch.param.offset, |grad| grad.offset);
        Tile {
            param: (span.param - Format::PARAM.elements(dispatch.param.offset)) as u32,
            grad: (span.grad - Format::PARAM.elements(grad_offset)) as u32,
            moment: span.moment as u32,
            length_hyper: (((span.class - self.first_class) * self.hyper_stride) << 16) | (span.length & 0xffff) as u32,
        }
    }
}

/// Spans for one tiled dispatch.
#[derive(Default)]
struct Batch {
    spans: Vec<Span>,
    records: u64,
    extents: Option<Extents>,
}

/// A range of bytes in a buffer.
#[derive(Clone, Copy)]
struct Extent {
    begin: u64,
    end: u64,
}

impl Extent {
    fn and(self, other: Self) -> Self {
        Self { begin: self.begin.min(other.begin), end: self.end.max(other.end) }
    }

    /// The smallest aligned binding that covers the range.
    fn bind(self, buffer: u32, limits: &Limits) -> Binding {
        let offset = self.begin / limits.alignment * limits.alignment;
        Binding { buffer, offset, size: self.end - offset }
    }
}

/// The ranges that the bindings of a dispatch must cover.
#[derive(Clone, Copy)]
struct Extents {
    param: Extent,
    grad: Option<Extent>,
}

impl Extents {
    fn and(self, other: Self) -> Self {
        let grad = self.grad.zip(other.grad).map(|(a, b)| a.and(b));
        Self { param: self.param.and(other.param), grad }
    }

    fn fit(self, limits: &Limits) -> bool {
        let fits = |extent: Extent| extent.bind(0, limits).size <= limits.binding;
        fits(self.param) && self.grad.is_none_or(fits)
    }
}
