//! Adding parameter groups: checked as a whole before anything changes.

use std::collections::BTreeMap;

use crate::Error;
use crate::group::{Group, ParamGroup};
use crate::optimizer::{ParamId, WgpuAdam};
use crate::plan::Place;
use crate::registry::{Registry, Spot, Tensor};
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
        Ok(self.registry.groups.len() - 1)
    }

    /// Adds groups, all or none.
    pub(crate) fn register(&mut self, added: Vec<ParamGroup>) -> Result<(), Error> {
        let mut draft = self.registry.clone();
        let mut stateless = Vec::new();
        for group in added {
            let number = draft.groups.len();
            let config = group.config(&self.defaults);
            config.validate(Some(number))?;
            let mut params = Vec::with_capacity(group.params.len());
            for param in group.params {
                let index = draft.next_number();
                let tensor = self.admit(param, index, number as u32)?;
                draft.push(tensor);
                params.push(ParamId { optimizer: self.number, index });
                stateless.push((index, config.amsgrad));
            }
            draft.groups.push(Group { config, params, extra: BTreeMap::new() });
        }
        draft.check_names()?;
        draft.check_ranges()?;
        draft.add_state(&self.gpu, &self.limits, &stateless)?;
        self.commit(draft)
    }

    /// Puts a changed registry in the place of the old one, if a plan can be made of it.
    pub(crate) fn commit(&mut self, draft: Registry) -> Result<(), Error> {
        let old = std::mem::replace(&mut self.registry, draft);
        let prepared = self.prepare();
        match prepared {
            Ok(()) => self.clears = None,
            Err(_) => self.registry = old,
        }
        prepared
    }

    /// Checks a parameter by itself.
    pub(crate) fn admit(&mut self, param: Param, number: u32, group: u32) -> Result<Tensor, Error> {
        let Param { name, shape, param, grad } = param;
        let place = Place { buffer: u32::MAX, start: 0 };
        let nowhere = Spot { place, padding: 0 };
        let mut tensor = Tensor { name, shape, length: 0, group, step: 0, history: 0, param: nowhere, grad: None };
        let too_large = || Error::ShapeTooLarge { tensor: tensor.describe(number), shape: tensor.shape.clone() };
        tensor.length = elements(&tensor.shape).ok_or_else(too_large)?;
        param.check(tensor.length, wgpu::BufferUsages::STORAGE, || tensor.describe(number))?;
        tensor.param = self.spot(&param);
        if let Some(grad) = grad {
            tensor.grad = Some(self.admit_grad(&tensor, number, &grad)?);
        }
        Ok(tensor)
    }

    /// Checks a gradient by itself and against its parameter.
    pub(crate) fn admit_grad(&mut self, tensor: &Tensor, number: u32, grad: &TensorBuffer) -> Result<Spot, Error> {
        grad.check(tensor.length, wgpu::BufferUsages::STORAGE, || tensor.describe_grad(number))?;
        let spot = self.spot(grad);
        let (param, grad) = (tensor.param.place, spot.place);
        if param.buffer == grad.buffer && tensor.length > 0 {
            // A quad of both must be within one binding, wherever that may begin.
            let bytes = (param.start.abs_diff(grad.start) + tensor.length.min(4)) * 4 + self.limits.alignment;
            if bytes > self.limits.binding {
                let allowed = self.limits.binding;
                return Err(Error::GradientTooFar { tensor: tensor.describe(number), bytes, allowed });
            }
        }
        Ok(spot)
    }

    fn spot(&mut self, at: &TensorBuffer) -> Spot {
        let place = Place { buffer: self.buffers.number(at.buffer()), start: at.offset() / 4 };
        Spot { place, padding: at.padding() }
    }
}
