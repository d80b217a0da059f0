//! What the next steps record: a plan, and everything that recording it needs.

use super::bound::{Binder, Bound};
use super::bound_control::BoundControl;
use super::request;
use crate::control::Control;
use crate::control::skipped::Counts;
use crate::device::gpu::Gpu;
use crate::error::Error;
use crate::kernels::Kernels;
use crate::layout::Hyper;
use crate::plan::ledger::Ledger;
use crate::plan::{self, Dispatch, Input, Limits};
use crate::registry::Registry;
use crate::registry::work::ClassCount;

/// What the next steps record.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// The input that it was made from.
    pub input: Input,
    pub bound: Bound,
    /// Present if the device decides.
    pub control: Option<BoundControl>,
    pub classes: Vec<ClassCount>,
    /// See [`StepWork`](crate::registry::work::StepWork).
    pub alike: Vec<(u32, u32)>,
    /// The parameters that have gradients.
    pub stepping: Vec<u32>,
    /// Distance from one class's hyper block to the next one's, in blocks.
    pub hyper_stride: usize,
    /// Reused by every step for its hyper blocks or its request.
    pub hypers: Vec<Hyper>,
    pub request: Vec<u8>,
}

/// Everything that making a plan ready needs besides the plan's input.
#[derive(Clone, Copy)]
pub(crate) struct Maker<'a> {
    pub gpu: &'a Gpu,
    pub kernels: &'a Kernels,
    pub limits: &'a Limits,
}

/// A plan ready to record, and what it needs besides. None of this is in force yet.
pub(crate) struct Made {
    pub prepared: Prepared,
    /// Larger counts of skipped steps, if the present ones have no room for all tensors.
    pub grown: Option<Counts>,
    /// The number of bytes that a step writes.
    pub slot_bytes: usize,
}

impl Prepared {
    /// Whether this was made from the same input, for the same control and the same stepping tensors.
    pub(crate) fn is_of(&self, input: &Input, control: &Control, stepping: &[u32]) -> bool {
        let same_control = match &self.control {
            // The ledger lists all stepping tensors, even those without elements.
            Some(bound) => control.decides() && bound.measured == control.measured() && stepping == self.stepping,
            None => !control.decides(),
        };
        same_control && *input == self.input
    }

    /// Plans a step and creates what recording it needs. Reuses what it can from `self`, which does not change.
    pub(crate) fn make(
        &self,
        input: Input,
        stepping: &[u32],
        registry: &Registry,
        control: &mut Control,
        maker: Maker<'_>,
    ) -> Result<Made, Error> {
        let Maker { gpu, kernels, limits } = maker;
        let plan = plan::plan(&input, &registry.plane_elements(), limits);
        let binder = Binder { gpu, buffers: &registry.buffers, windows: registry.windows(), limits };
        let hyper_stride = plan.hyper_stride as usize;
        let blocks = input.classes.len() * hyper_stride;
        let ledger = Ledger::new(&plan, control.measured(), stepping.len(), blocks, limits);
        let name = |dispatch: &Dispatch| dispatch_label(&gpu.label, dispatch, registry);
        let bound = binder.bind(&plan, &ledger.grids, kernels, &self.bound, name)?;
        let mut slot_bytes = blocks * size_of::<Hyper>();
        let (mut grown, mut bound_control) = (None, None);
        let decides = control.decides();
        if let Some(controller) = control.controller.as_mut().filter(|_| decides) {
            slot_bytes = slot_bytes.max(request::size(input.classes.len()));
            grown = controller.skipped.grown(gpu, kernels, registry.next_number())?;
            let skipped = grown.as_ref().map_or(&controller.skipped.current, |grown| &grown.current).clone();
            bound_control = Some(binder.bind_control(&plan, &ledger, stepping, controller, &skipped, kernels)?);
        }
        let prepared = Self { input, bound, control: bound_control, hyper_stride, ..Self::default() };
        Ok(Made { prepared, grown, slot_bytes })
    }
}

/// The name of a dispatch in GPU debuggers.
fn dispatch_label(label: &str, dispatch: &Dispatch, registry: &Registry) -> String {
    let name = |tensor: u32| {
        let group = registry.tensor(tensor).map_or(0, |tensor| tensor.group);
        format!("{} of group {group}", registry.describe(tensor))
    };
    let (first, last) = dispatch.tensors;
    if dispatch.pieces == 1 {
        format!("{label}: {}", name(first))
    } else {
        format!("{label}: {} pieces, {} to {}", dispatch.pieces, name(first), name(last))
    }
}
