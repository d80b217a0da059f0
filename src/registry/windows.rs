//! Windows: where the optimizer's own state lies.
//!
//! State mirrors the parameters' layout in their buffer, so that neighbours stay neighbours. It lies in windows, each a
//! buffer of at most one binding's size, with one plane after another: all exp_avg, then all exp_avg_sq, and so on. One
//! binding then serves all planes, which keeps the step within four storage buffers. A window belongs to one parameter
//! buffer. It never moves once a recorded step or the caller may know its place.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::device::gpu::Gpu;
use crate::error::Error;
use crate::planes::{Plane, Planes};
use crate::sort::sort_by;

/// A request for state: a tensor, and where its parameters lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Request {
    pub buffer: u32,
    pub planes: Planes,
    /// The first parameter's place in its buffer, in elements.
    pub param: u64,
    pub length: u64,
    /// Elements behind the tensor that stay zero.
    pub padding: u64,
    pub tensor: u32,
}

/// A part of a tensor whose state lies in one window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Piece {
    pub tensor: u32,
    /// The part's first element in the tensor.
    pub start: u64,
    pub length: u64,
    /// Elements behind the part that stay zero in the parameters and in the state.
    pub padding: u64,
    /// The first element's place in the parameter buffer.
    pub param: u64,
    pub window: u32,
    /// The first element's exp_avg, in elements from the start of the window.
    pub moment: u64,
}

/// The shape of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct WindowLayout {
    pub planes: Planes,
    /// The number of elements in each plane, a multiple of 4.
    pub elements: u64,
}

impl WindowLayout {
    pub(crate) fn bytes(&self) -> u64 {
        self.planes.bytes(self.elements)
    }
}

/// Lays out windows of at most `max_window` bytes, numbered from `first_window` on. Pieces are returned in the order of
/// windows, and within a window in the order of their places.
pub(crate) fn lay_out(
    mut requests: Vec<Request>,
    first_window: u32,
    max_window: u64,
) -> (Vec<WindowLayout>, Vec<Piece>) {
    sort_by(&mut requests, Ord::cmp);
    let mut filler = Filler { max_window, first_window, windows: Vec::new(), pieces: Vec::new(), open: None };
    for request in &requests {
        filler.place(request);
    }
    (filler.windows, filler.pieces)
}

struct Filler {
    max_window: u64,
    first_window: u32,
    windows: Vec<WindowLayout>,
    pieces: Vec<Piece>,
    open: Option<Open>,
}

/// The window being filled.
#[derive(Clone, Copy)]
struct Open {
    buffer: u32,
    planes: Planes,
    /// The number of elements in use in each plane.
    used: u64,
    /// Where in the parameter buffer the next neighbour would begin.
    end: u64,
}

impl Filler {
    fn place(&mut self, request: &Request) {
        let &Request { buffer, planes, param, length, padding, tensor } = request;
        let capacity = planes.capacity(self.max_window);
        // Neighbours stay neighbours. Others keep their parameter's place modulo 4, the size of a quad.
        let fitting = self.open.filter(|open| (open.buffer, open.planes) == (buffer, planes)).map(|open| {
            let gap = if open.end == param { 0 } else { (4 + param % 4 - open.used % 4) % 4 };
            open.used + gap
        });
        let mut used = match fitting.filter(|used| used + length <= capacity) {
            Some(used) => used,
            None => self.open_window(planes, param % 4),
        };
        let mut start = 0;
        loop {
            let part = (length - start).min(capacity - used);
            // Padding behind the end of a window needs no state, because no run crosses that end.
            let padding = if start + part == length { padding.min(capacity - used - part) } else { 0 };
            let window = self.first_window + self.windows.len() as u32 - 1;
            self.pieces.push(Piece {
                tensor,
                start,
                length: part,
                padding,
                param: param + start,
                window,
                moment: used,
            });
            used += part + padding;
            start += part;
            if let Some(window) = self.windows.last_mut() {
                window.elements = used.next_multiple_of(4);
            }
            if start == length {
                break;
            }
            used = self.open_window(planes, 0);
        }
        self.open = Some(Open { buffer, planes, used, end: param + length + padding });
    }

    /// Opens a window whose first element is at `first`, and returns `first`.
    fn open_window(&mut self, planes: Planes, first: u64) -> u64 {
        self.windows.push(WindowLayout { planes, elements: 0 });
        first
    }
}

/// A window's buffer and shape, and how many tensors are in it.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub buffer: wgpu::Buffer,
    pub layout: WindowLayout,
    /// How many tensors have state here, and how many of them have taken no step.
    pub tensors: u32,
    pub fresh: u32,
    /// Whether the caller knows places in it.
    lent: Arc<AtomicBool>,
}

impl Window {
    /// An empty window over a buffer.
    pub(crate) fn new(buffer: wgpu::Buffer, layout: WindowLayout) -> Self {
        Self { buffer, layout, tensors: 0, fresh: 0, lent: Arc::default() }
    }

    /// Notes that the caller knows places in the window.
    pub(crate) fn lend(&self) {
        self.lent.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_lent(&self) -> bool {
        self.lent.load(Ordering::Relaxed)
    }

    /// Creates the windows' buffers, all zeros.
    pub(crate) fn create(gpu: &Gpu, layouts: &[WindowLayout]) -> Result<Vec<Self>, Error> {
        let create = |&layout: &WindowLayout| {
            let keys: Vec<&str> = layout.planes.iter().map(Plane::key).collect();
            let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
            // A group of tensors without elements has a window too.
            let buffer = gpu.buffer(&format!("state [{}]", keys.join(", ")), layout.bytes().max(16), usage);
            // A lost device creates buffers that are invalid. Writing nothing reports that here instead of at a later
            // step.
            gpu.queue.write_buffer(&buffer, 0, &[]);
            Self::new(buffer, layout)
        };
        gpu.guard.run("the buffers of the state", || layouts.iter().map(create).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::{Piece, Request, WindowLayout, lay_out};
    use crate::planes::Planes;
    use proptest::prelude::*;

    fn request(tensor: u32, buffer: u32, param: u64, length: u64, padding: u64) -> Request {
        Request { buffer, planes: Planes::new(false), param, length, padding, tensor }
    }

    #[test]
    fn neighbours_stay_neighbours() {
        let (windows, pieces) = lay_out(vec![request(1, 0, 64, 10, 54), request(0, 0, 0, 63, 1)], 0, 1 << 20);
        assert_eq!(windows, [WindowLayout { planes: Planes::new(false), elements: 128 }]);
        let places: Vec<_> = pieces.iter().map(|piece| (piece.tensor, piece.moment)).collect();
        assert_eq!(places, [(0, 0), (1, 64)]);
    }

    #[test]
    fn a_tensor_larger_than_a_window_is_cut_between_quads() {
        let (windows, pieces) = lay_out(vec![request(0, 0, 3, 300, 0)], 5, 1024);
        assert_eq!(windows.len(), 3);
        let places: Vec<_> = pieces.iter().map(|p| (p.window, p.start, p.length, p.moment)).collect();
        assert_eq!(places, [(5, 0, 125, 3), (6, 125, 128, 0), (7, 253, 47, 0)]);
    }

    proptest! {
        /// Every element of every tensor has a place of its own in every plane. It lies in a window of the element's
        /// parameter buffer, within the limit, and modulo 4 at the same place as the parameter.
        #[test]
        fn every_element_has_a_place(
            shapes in prop::collection::vec((0_u32..3, 0_u64..7, 0_u64..400, prop::bool::ANY, prop::bool::ANY), 1..40),
            max_window in prop::sample::select(vec![1024_u64, 4096, 1 << 20]),
        ) {
            let mut ends = [0_u64; 3];
            let requests: Vec<Request> = (0_u32..).zip(&shapes).map(|(tensor, &(buffer, gap, length, padded, amsgrad))| {
                let end = &mut ends[buffer as usize];
                let param = if padded { end.next_multiple_of(64) } else { *end + gap };
                let padding = if padded { (param + length).next_multiple_of(64) - param - length } else { 0 };
                *end = param + length + padding;
                Request { buffer, planes: Planes::new(amsgrad), param, length, padding, tensor }
            }).collect();
            let (windows, pieces) = lay_out(requests.clone(), 0, max_window);
            for request in &requests {
                let mut own: Vec<&Piece> = pieces.iter().filter(|piece| piece.tensor == request.tensor).collect();
                own.sort_by_key(|piece| piece.start);
                let mut start = 0;
                for piece in own {
                    prop_assert_eq!((piece.start, piece.param), (start, request.param + start));
                    prop_assert_eq!(piece.moment % 4, piece.param % 4);
                    prop_assert_eq!(windows[piece.window as usize].planes, request.planes);
                    start += piece.length;
                }
                prop_assert_eq!(start, request.length);
            }
            for (number, window) in (0_u32..).zip(&windows) {
                prop_assert!(window.bytes() <= max_window);
                let own: Vec<&Piece> = pieces.iter().filter(|piece| piece.window == number).collect();
                let buffers: Vec<u32> = own.iter().map(|piece| requests[piece.tensor as usize].buffer).collect();
                prop_assert!(buffers.windows(2).all(|pair| pair[0] == pair[1]));
                let mut end = 0;
                for piece in own {
                    prop_assert!(piece.moment >= end, "places overlap or are out of order");
                    end = piece.moment + piece.length + piece.padding;
                }
                prop_assert!(end <= window.elements);
            }
        }
    }
}
