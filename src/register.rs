//! Adding parameter groups: checked as a whole before anything changes.

use std::collections::HashSet;

use crate::Error;
use crate::group::{Group, ParamGroup};
use crate::moments::{self, Request, Window};
use crate::optimizer::{ParamId, Spot, Tensor, WgpuAdam};
use crate::plan::Place;
use crate::ranges::{Conflict, Range, Ranges};
use crate::tensor::{Param, TensorBuffer, elements};

impl WgpuAdam {
    /// Adds a group to a running optimizer; its parameters begin at step 0. Returns the group's number.
    ///
    /// Options that the group does not set are those given to [`new`](Self::new). Allocates the group's state and
    /// compiles what it needs; steps already recorded are not affected.
    ///
    /// # Errors
    /// As for [`new`](Self::new); a parameter that the optimizer already has.
    pub fn add_param_group(&mut self, group: ParamGroup) -> Result<usize, Error> {
        self.register(vec![group])?;
        Ok(self.groups.len() - 1)
    }

    /// Adds groups, all or none.
    pub(crate) fn register(&mut self, added: Vec<ParamGroup>) -> Result<(), Error> {
        let (groups, tensors) = (self.groups.len(), self.tensors.len());
        let (windows, pieces) = (self.windows.len(), self.pieces.len());
        let ranges = self.ranges.clone();
        let result = self.append(added).and_then(|()| self.prepare());
        if result.is_err() {
            self.groups.truncate(groups);
            self.tensors.truncate(tensors);
            self.windows.truncate(windows);
            self.pieces.truncate(pieces);
            self.ranges = ranges;
        }
        result
    }

    fn append(&mut self, added: Vec<ParamGroup>) -> Result<(), Error> {
        let first = self.tensors.len();
        for group in added {
            let number = self.groups.len();
            let config = group.config(&self.defaults);
            config.validate(Some(number))?;
            let mut params = Vec::with_capacity(group.params.len());
            for param in group.params {
                let index = self.tensors.len() as u32;
                params.push(ParamId { optimizer: self.number, index });
                let tensor = self.admit(param, index, number as u32)?;
                self.tensors.push(tensor);
            }
            self.groups.push(Group { config, params });
        }
        self.check_names()?;
        self.ranges = self.check_ranges()?;
        self.allocate(first)
    }

    /// Checks a parameter by itself.
    fn admit(&mut self, param: Param, index: u32, group: u32) -> Result<Tensor, Error> {
        let Param { name, shape, param, grad } = param;
        let mut tensor = Tensor { name, shape, length: 0, group, step: 0, param: Spot::NOWHERE, grad: None };
        let too_large = || Error::ShapeTooLarge { tensor: tensor.describe(index), shape: tensor.shape.clone() };
        tensor.length = elements(&tensor.shape).ok_or_else(too_large)?;
        param.check(tensor.length, wgpu::BufferUsages::STORAGE, || tensor.describe(index))?;
        tensor.param = self.spot(&param);
        if let Some(grad) = grad {
            tensor.grad = Some(self.admit_grad(&tensor, index, &grad)?);
        }
        Ok(tensor)
    }

    /// Checks a gradient by itself and against its parameter.
    pub(crate) fn admit_grad(&mut self, tensor: &Tensor, index: u32, grad: &TensorBuffer) -> Result<Spot, Error> {
        grad.check(tensor.length, wgpu::BufferUsages::STORAGE, || tensor.describe_grad(index))?;
        let spot = self.spot(grad);
        let (param, grad) = (tensor.param.place, spot.place);
        if param.buffer == grad.buffer && tensor.length > 0 {
            // A quad of both must be within one binding, wherever that may begin.
            let bytes = (param.start.abs_diff(grad.start) + tensor.length.min(4)) * 4 + self.limits.alignment;
            if bytes > self.limits.binding {
                let allowed = self.limits.binding;
                return Err(Error::GradientTooFar { tensor: tensor.describe(index), bytes, allowed });
            }
        }
        Ok(spot)
    }

    fn spot(&mut self, at: &TensorBuffer) -> Spot {
        let place = Place { buffer: self.buffers.number(at.buffer()), start: at.offset() / 4 };
        Spot { place, padding: at.padding() }
    }

    /// All parameters have names, each its own, or none has one.
    fn check_names(&self) -> Result<(), Error> {
        let mut names = HashSet::new();
        let mut unnamed = None;
        for (index, tensor) in (0_u32..).zip(&self.tensors) {
            match &tensor.name {
                Some(name) if !names.insert(name) => return Err(Error::DuplicateName { name: name.clone() }),
                Some(_) => {}
                None => unnamed = Some(tensor.describe(index)),
            }
        }
        let named = (0_u32..).zip(&self.tensors).find(|(_, tensor)| tensor.name.is_some());
        match named.zip(unnamed) {
            Some(((index, named), unnamed)) => Err(Error::MixedNames { named: named.describe(index), unnamed }),
            None => Ok(()),
        }
    }

    /// No parameter overlaps another, nor any gradient. Gradients are only read and may overlap.
    fn check_ranges(&self) -> Result<Ranges, Error> {
        let name = |index: u32| self.describe(index);
        let params = (0_u32..).zip(&self.tensors).map(|(index, tensor)| tensor.param.range(tensor, index));
        let ranges =
            Ranges::new(params).map_err(|conflict| conflict.error(name(conflict.first), name(conflict.second)))?;
        for (index, tensor) in (0_u32..).zip(&self.tensors) {
            if let Some(grad) = tensor.grad {
                ranges.check(&grad.unpadded(tensor, index)).map_err(|conflict| self.grad_overlap(&conflict))?;
            }
        }
        Ok(ranges)
    }

    /// A parameter and a gradient overlap.
    pub(crate) fn grad_overlap(&self, conflict: &Conflict) -> Error {
        let grad = self.tensors.get(conflict.second as usize);
        let grad = grad.map_or_else(String::new, |tensor| tensor.describe_grad(conflict.second));
        conflict.error(self.describe(conflict.first), grad)
    }

    /// Gives state to the tensors from number `first` on.
    pub(crate) fn allocate(&mut self, first: usize) -> Result<(), Error> {
        let tensors = (0_u32..).zip(&self.tensors).skip(first);
        let requests = tensors.map(|(index, tensor)| self.request(tensor, index)).collect();
        let (layouts, pieces) = moments::lay_out(requests, self.windows.len() as u32, self.limits.binding);
        let windows = Window::create(&self.gpu, &layouts)?;
        self.windows.extend(windows.into_iter().map(Some));
        self.pieces.extend(pieces);
        Ok(())
    }

    pub(crate) fn request(&self, tensor: &Tensor, index: u32) -> Request {
        let amsgrad = self.groups.get(tensor.group as usize).is_some_and(|group| group.config.amsgrad);
        Request {
            buffer: tensor.param.place.buffer,
            planes: if amsgrad { 3 } else { 2 },
            param: tensor.param.place.start,
            length: tensor.length,
            padding: tensor.param.padding,
            tensor: index,
        }
    }
}

impl Spot {
    const NOWHERE: Self = Self { place: Place { buffer: u32::MAX, start: 0 }, padding: 0 };

    /// What the tensor's parameters take, padding included: steps may write zeros there.
    fn range(self, tensor: &Tensor, index: u32) -> Range {
        let end = self.place.start + tensor.length + self.padding;
        Range { buffer: self.place.buffer, start: self.place.start, end, tensor: index }
    }

    pub(crate) fn unpadded(self, tensor: &Tensor, index: u32) -> Range {
        Self { padding: 0, ..self }.range(tensor, index)
    }
}
