//! Where the tensors' state lies: the pieces and windows of a registry.

use std::collections::{HashMap, HashSet};

use super::Registry;
use super::tensor::Tensor;
use crate::device::gpu::Gpu;
use crate::error::Error;
use crate::plan::Limits;
use crate::planes::{Plane, Planes};
use crate::registry::windows::{Piece, Request, Window, WindowLayout, lay_out};

/// A layout of new state, whose windows are not created yet.
struct Draft {
    layouts: Vec<WindowLayout>,
    pieces: Vec<Piece>,
}

/// Where a part of a tensor lies in one plane of its state.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PlanePart {
    pub plane: Plane,
    /// The part's first element in the tensor, and its number of elements.
    pub start: u64,
    pub length: u64,
    pub buffer: wgpu::Buffer,
    /// The first element's place in the buffer, in bytes.
    pub offset: u64,
}

impl PlanePart {
    /// The size of the part in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.plane.format().bytes(self.length)
    }
}

/// Windows and tensors that could be laid out together.
#[derive(Default)]
struct Together {
    windows: HashSet<u32>,
    /// The tensors' numbers, and the planes of their state.
    tensors: Vec<(u32, Planes)>,
}

impl Registry {
    /// Gives new state, all zeros, to tensors given as numbers and the planes that they need. Releases their old state.
    pub(crate) fn add_state(&mut self, gpu: &Gpu, limits: &Limits, of: &[(u32, Planes)]) -> Result<(), Error> {
        let Draft { layouts, pieces } = self.lay_out(of, limits);
        let windows = Window::create(gpu, &layouts)?;
        self.place(windows, pieces);
        self.scattered = true;
        Ok(())
    }

    /// The tensor's pieces of state, in the order of its elements.
    pub(crate) fn pieces_of(&self, number: u32) -> &[Piece] {
        self.tensor(number).and_then(|tensor| self.pieces.get(tensor.pieces.clone())).unwrap_or_default()
    }

    /// All pieces of state with their tensors, in the order of windows, then of places.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = (&Piece, &Tensor)> {
        self.pieces.iter().enumerate().filter_map(|(index, piece)| {
            let tensor = self.tensor(piece.tensor)?;
            tensor.pieces.contains(&index).then_some((piece, tensor))
        })
    }

    /// The planes of a tensor's state.
    pub(crate) fn planes_of(&self, number: u32) -> Planes {
        let window = self.pieces_of(number).first().and_then(|piece| self.window(piece.window));
        window.map_or(Planes::default(), |window| window.layout.planes)
    }

    /// Where a plane holds the elements of a piece. `None` if the piece's window lacks the plane.
    pub(crate) fn plane_part(&self, piece: &Piece, plane: Plane) -> Option<PlanePart> {
        let Window { buffer, layout, .. } = self.window(piece.window)?;
        let offset = layout.planes.offset(plane, piece.moment, layout.elements)?;
        Some(PlanePart { plane, start: piece.start, length: piece.length, buffer: buffer.clone(), offset })
    }

    /// Where a tensor's state lies: piece by piece, and within a piece plane by plane.
    pub(crate) fn plane_parts(&self, number: u32) -> impl Iterator<Item = PlanePart> {
        let pieces = self.pieces_of(number).iter().filter(|piece| piece.length > 0);
        pieces.flat_map(|piece| Plane::ALL.into_iter().filter_map(|plane| self.plane_part(piece, plane)))
    }

    pub(crate) fn window(&self, number: u32) -> Option<&Window> {
        self.windows.get(number as usize).and_then(Option::as_ref)
    }

    pub(crate) fn windows(&self) -> &[Option<Window>] {
        &self.windows
    }

    /// The number of elements that each window has in a plane.
    pub(crate) fn plane_elements(&self) -> Vec<u64> {
        self.windows.iter().map(|window| window.as_ref().map_or(0, |window| window.layout.elements)).collect()
    }

    /// Returns the numbers and planes of tensors that lie in more windows than they would need if they were laid out
    /// together. With `fresh_only` it looks only at windows whose tensors have taken no step and whose places the
    /// caller does not know.
    pub(crate) fn scattered(&self, fresh_only: bool, limits: &Limits) -> Vec<(u32, Planes)> {
        let moves = |window: &Window| !fresh_only || (window.fresh == window.tensors && !window.is_lent());
        // The windows and tensors of each parameter buffer and each set of planes.
        let mut by_buffer: HashMap<(u32, Planes), Together> = HashMap::new();
        for (piece, tensor) in self.pieces() {
            let Some(window) = self.window(piece.window).filter(|window| moves(window)) else { continue };
            let planes = window.layout.planes;
            let together = by_buffer.entry((tensor.param.place.buffer, planes)).or_default();
            together.windows.insert(piece.window);
            if piece.start == 0 {
                together.tensors.push((piece.tensor, planes));
            }
        }
        let is_scattered = |Together { windows, tensors }: &Together| {
            windows.len() > 1 && self.lay_out(tensors, limits).layouts.len() < windows.len()
        };
        by_buffer.into_values().filter(is_scattered).flat_map(|together| together.tensors).collect()
    }

    /// Lays out together neighbours that have taken no step. They may move, because their state is zero and nothing
    /// recorded needs it. `create` makes the windows.
    pub(crate) fn gather(
        &mut self,
        limits: &Limits,
        create: impl FnOnce(&[WindowLayout]) -> Result<Vec<Window>, Error>,
    ) -> Result<(), Error> {
        if !std::mem::take(&mut self.scattered) {
            return Ok(());
        }
        let of = self.scattered(true, limits);
        if !of.is_empty() {
            let Draft { layouts, pieces } = self.lay_out(&of, limits);
            self.place(create(&layouts)?, pieces);
        }
        Ok(())
    }

    fn lay_out(&self, of: &[(u32, Planes)], limits: &Limits) -> Draft {
        let request = |&(number, planes): &(u32, Planes)| {
            let tensor = self.tensor(number)?;
            Some(Request {
                buffer: tensor.param.place.buffer,
                planes,
                param: tensor.param.place.start,
                length: tensor.length,
                padding: tensor.param.padding,
                tensor: number,
            })
        };
        let requests = of.iter().filter_map(request).collect();
        let (layouts, pieces) = lay_out(requests, self.windows.len() as u32, limits.binding);
        Draft { layouts, pieces }
    }

    /// Takes over new windows. The pieces in them replace their tensors' old pieces.
    fn place(&mut self, windows: Vec<Window>, pieces: Vec<Piece>) {
        self.windows.extend(windows.into_iter().map(Some));
        for own in pieces.chunk_by(|a, b| a.tensor == b.tensor) {
            let Some(first) = own.first() else { continue };
            self.release_state(first.tensor);
            let begin = self.pieces.len();
            self.pieces.extend_from_slice(own);
            let Some(tensor) = self.tensors.get_mut(first.tensor as usize).and_then(Option::as_mut) else { continue };
            tensor.pieces = begin..begin + own.len();
            let fresh = u32::from(tensor.is_fresh);
            self.count(own.iter().map(|piece| piece.window).collect(), |window| {
                window.tensors += 1;
                window.fresh += fresh;
            });
        }
        self.drop_dead_pieces();
    }

    /// Notes that something recorded touches a tensor's state.
    pub(crate) fn touch(&mut self, number: u32) {
        let Some(tensor) = self.tensor_mut(number).filter(|tensor| tensor.is_fresh) else { return };
        tensor.is_fresh = false;
        let windows = self.pieces_of(number).iter().map(|piece| piece.window).collect();
        self.count(windows, |window| window.fresh -= 1);
    }

    /// Releases a tensor's state. A window that holds nothing any more is dropped.
    pub(super) fn release_state(&mut self, number: u32) {
        let Some(tensor) = self.tensors.get_mut(number as usize).and_then(Option::as_mut) else { return };
        let (fresh, own) = (u32::from(tensor.is_fresh), std::mem::replace(&mut tensor.pieces, 0..0));
        self.dead_pieces += own.len();
        let windows = self.pieces.get(own).unwrap_or_default().iter().map(|piece| piece.window).collect();
        self.count(windows, |window| {
            window.tensors -= 1;
            window.fresh -= fresh;
        });
    }

    /// Changes the counts of windows, and drops windows without tensors.
    fn count(&mut self, windows: Vec<u32>, change: impl Fn(&mut Window)) {
        for number in windows {
            let Some(slot) = self.windows.get_mut(number as usize) else { continue };
            if let Some(window) = slot {
                change(window);
            }
            if slot.as_ref().is_some_and(|window| window.tensors == 0) {
                *slot = None;
            }
        }
    }

    /// Drops dead pieces once they are more than half, so that dropping one costs little on average.
    pub(super) fn drop_dead_pieces(&mut self) {
        if self.dead_pieces * 2 <= self.pieces.len() {
            return;
        }
        let all = std::mem::take(&mut self.pieces);
        for (index, piece) in all.iter().enumerate() {
            let begin = self.pieces.len();
            let Some(tensor) = self.tensors.get_mut(piece.tensor as usize).and_then(Option::as_mut) else { continue };
            if tensor.pieces.start == index {
                let own = all.get(tensor.pieces.clone()).unwrap_or_default();
                tensor.pieces = begin..begin + own.len();
                self.pieces.extend_from_slice(own);
            }
        }
        self.dead_pieces = 0;
    }
}
