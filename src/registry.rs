//! What is optimized: groups, their tensors, where these and their state lie.
//!
//! Changes to it are made on a copy, which takes its place as a whole when everything has succeeded.

use std::collections::{HashMap, HashSet};

use crate::Error;
use crate::gpu::Gpu;
use crate::group::Group;
use crate::moments::{self, Piece, Request, Window};
use crate::plan::{Limits, Place};
use crate::ranges::{Conflict, Range, Ranges};

#[derive(Clone, Debug, Default)]
pub(crate) struct Registry {
    pub groups: Vec<Group>,
    /// By number; none for a parameter that was removed. Numbers are never used again.
    tensors: Vec<Option<Tensor>>,
    /// Where parameters lie.
    pub ranges: Ranges,
    /// State; none for a window in which nothing lies any more.
    pub windows: Vec<Option<Window>>,
    /// In the order of windows, then of places.
    pub pieces: Vec<Piece>,
}

/// What the optimizer knows of a parameter.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    pub name: Option<String>,
    pub shape: Vec<usize>,
    pub length: u64,
    pub group: u32,
    /// t: the steps it has taken.
    pub step: u64,
    /// The same for tensors that have missed the same steps, where steps may be skipped; else 0.
    pub history: u32,
    pub param: Spot,
    pub grad: Option<Spot>,
}

/// A place in a numbered buffer, in elements, and the zero padding behind the tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spot {
    pub place: Place,
    pub padding: u64,
}

impl Spot {
    /// What the tensor takes, padding included: steps may write zeros there.
    fn range(self, tensor: &Tensor, number: u32) -> Range {
        let end = self.place.start + tensor.length + self.padding;
        Range { buffer: self.place.buffer, start: self.place.start, end, tensor: number }
    }

    pub(crate) fn unpadded(self, tensor: &Tensor, number: u32) -> Range {
        Self { padding: 0, ..self }.range(tensor, number)
    }
}

impl Tensor {
    /// How errors call it: by its name, or by its number where there is no name.
    pub(crate) fn describe(&self, number: u32) -> String {
        match &self.name {
            Some(name) => format!("parameter \"{name}\""),
            None => format!("parameter {number}"),
        }
    }

    pub(crate) fn describe_grad(&self, number: u32) -> String {
        match &self.name {
            Some(name) => format!("gradient of \"{name}\""),
            None => format!("gradient of parameter {number}"),
        }
    }
}

impl Registry {
    pub(crate) fn tensor(&self, number: u32) -> Option<&Tensor> {
        self.tensors.get(number as usize).and_then(Option::as_ref)
    }

    pub(crate) fn tensor_mut(&mut self, number: u32) -> Option<&mut Tensor> {
        self.tensors.get_mut(number as usize).and_then(Option::as_mut)
    }

    /// All tensors with their numbers, in the order in which they were added.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = (u32, &Tensor)> {
        (0_u32..).zip(&self.tensors).filter_map(|(number, tensor)| Some((number, tensor.as_ref()?)))
    }

    pub(crate) fn tensors_mut(&mut self) -> impl Iterator<Item = &mut Tensor> {
        self.tensors.iter_mut().flatten()
    }

    pub(crate) fn next_number(&self) -> u32 {
        self.tensors.len() as u32
    }

    pub(crate) fn push(&mut self, tensor: Tensor) {
        self.tensors.push(Some(tensor));
    }

    /// Tells apart the tensors that step from those that do not, where they have missed the same steps so far.
    pub(crate) fn part_histories(&mut self) {
        let mut next = self.tensors().map(|(_, tensor)| tensor.history).max().unwrap_or(0) + 1;
        let stepping = self.tensors().filter(|(_, tensor)| tensor.grad.is_some());
        let stepping: HashSet<u32> = stepping.map(|(_, tensor)| tensor.history).collect();
        let mut apart = HashMap::new();
        for tensor in self.tensors_mut() {
            if tensor.grad.is_none() && stepping.contains(&tensor.history) {
                tensor.history = *apart.entry(tensor.history).or_insert_with(|| {
                    next += 1;
                    next - 1
                });
            }
        }
    }

    /// Takes a parameter out of its group and lets go of its state.
    pub(crate) fn remove(&mut self, number: u32) {
        if let Some(slot) = self.tensors.get_mut(number as usize) {
            *slot = None;
        }
        for group in &mut self.groups {
            group.params.retain(|id| id.index != number);
        }
        self.remove_state(&HashSet::from([number]));
    }

    pub(crate) fn describe(&self, number: u32) -> String {
        self.tensor(number).map_or_else(String::new, |tensor| tensor.describe(number))
    }

    /// All parameters have names, each its own, or none has one.
    pub(crate) fn check_names(&self) -> Result<(), Error> {
        let mut names = HashSet::new();
        let mut unnamed = None;
        for (number, tensor) in self.tensors() {
            match &tensor.name {
                Some(name) if !names.insert(name) => return Err(Error::DuplicateName { name: name.clone() }),
                Some(_) => {}
                None => unnamed = Some(tensor.describe(number)),
            }
        }
        let named = self.tensors().find(|(_, tensor)| tensor.name.is_some());
        match named.zip(unnamed) {
            Some(((number, named), unnamed)) => Err(Error::MixedNames { named: named.describe(number), unnamed }),
            None => Ok(()),
        }
    }

    /// No parameter overlaps another, nor any gradient. Gradients are only read and may overlap each other.
    pub(crate) fn check_ranges(&mut self) -> Result<(), Error> {
        let params = self.tensors().map(|(number, tensor)| tensor.param.range(tensor, number));
        let ranges = Ranges::new(params)
            .map_err(|conflict| conflict.error(self.describe(conflict.first), self.describe(conflict.second)))?;
        for (number, tensor) in self.tensors() {
            if let Some(grad) = tensor.grad {
                let clear = ranges.check(&grad.unpadded(tensor, number));
                clear.map_err(|conflict| self.grad_overlap(&conflict))?;
            }
        }
        self.ranges = ranges;
        Ok(())
    }

    /// A parameter and a gradient overlap.
    pub(crate) fn grad_overlap(&self, conflict: &Conflict) -> Error {
        let grad = self.tensor(conflict.second);
        let grad = grad.map_or_else(String::new, |tensor| tensor.describe_grad(conflict.second));
        conflict.error(self.describe(conflict.first), grad)
    }

    /// Gives new state, all zeros, to tensors given as numbers and whether they need max_exp_avg_sq. What state they
    /// had goes.
    pub(crate) fn add_state(&mut self, gpu: &Gpu, limits: &Limits, of: &[(u32, bool)]) -> Result<(), Error> {
        let request = |&(number, max_exp_avg_sq): &(u32, bool)| {
            let tensor = self.tensor(number)?;
            Some(Request {
                buffer: tensor.param.place.buffer,
                planes: if max_exp_avg_sq { 3 } else { 2 },
                param: tensor.param.place.start,
                length: tensor.length,
                padding: tensor.param.padding,
                tensor: number,
            })
        };
        let requests = of.iter().filter_map(request).collect();
        let (layouts, pieces) = moments::lay_out(requests, self.windows.len() as u32, limits.binding);
        let windows = Window::create(gpu, &layouts)?;
        self.remove_state(&of.iter().map(|(number, _)| *number).collect());
        self.windows.extend(windows.into_iter().map(Some));
        self.pieces.extend(pieces);
        Ok(())
    }

    fn remove_state(&mut self, of: &HashSet<u32>) {
        self.pieces.retain(|piece| !of.contains(&piece.tensor));
        let used: HashSet<u32> = self.pieces.iter().map(|piece| piece.window).collect();
        for (number, window) in (0_u32..).zip(&mut self.windows) {
            if !used.contains(&number) {
                *window = None;
            }
        }
    }

    /// Whether a tensor's state has a place for max_exp_avg_sq.
    pub(crate) fn has_max_exp_avg_sq(&self, number: u32) -> bool {
        let piece = self.pieces.iter().find(|piece| piece.tensor == number);
        let window = piece.and_then(|piece| self.window(piece.window));
        window.is_some_and(|window| window.layout.planes == 3)
    }

    pub(crate) fn window(&self, number: u32) -> Option<&Window> {
        self.windows.get(number as usize).and_then(Option::as_ref)
    }

    /// The distance from exp_avg to exp_avg_sq in each window, in elements.
    pub(crate) fn planes(&self) -> Vec<u64> {
        self.windows.iter().map(|window| window.as_ref().map_or(0, |window| window.layout.plane)).collect()
    }
}
