//! What the next steps record: a plan, and all that recording it takes.

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
    /// What it was made from.
    pub input: Input,
    pub bound: Bound,
    /// Where the device decides.
    pub control: Option<BoundControl>,
    pub classes: Vec<ClassCount>,
    /// See [`StepWork`](crate::registry::work::StepWork).
    pub alike: Vec<(u32, u32)>,
    /// The parameters that have gradients.
    pub stepping: Vec<u32>,
    /// Hyper blocks from one class to the next.
    pub hyper_stride: usize,
    /// Reused for every step's hyper blocks, or request.
    pub hypers: Vec<Hyper>,
    pub request: Vec<u8>,
}

/// What a plan is made ready with.
#[derive(Clone, Copy)]
pub(crate) struct Maker<'a> {
    pub gpu: &'a Gpu,
    pub kernels: &'a Kernels,
    pub limits: &'a Limits,
    /// The optimizer's, in the names of its dispatches.
    pub label: &'a str,
}

/// A plan made ready, and what it needs besides: nothing is in force yet.
pub(crate) struct Made {
    pub prepared: Prepared,
    /// Counts of skipped steps for more tensors than the present ones.
    pub grown: Option<Counts>,
    /// The bytes that a step writes.
    pub slot_bytes: usize,
}

impl Prepared {
    /// Whether this was made from the same input, for the same control, of the same tensors.
    pub(crate) fn is_of(&self, input: &Input, control: &Control, stepping: &[u32]) -> bool {
        let same_control = match &self.control {
            // The ledger has the numbers of the stepping tensors, of which some have no elements.
            Some(bound) => control.decides() && bound.measured == control.measured() && stepping == self.stepping,
            None => !control.decides(),
        };
        same_control && *input == self.input
    }

    /// Plans a step and makes what recording it takes. What can be used again is taken from `self`, which stays as it is.
    pub(crate) fn make(
        &self,
        input: Input,
        stepping: &[u32],
        registry: &Registry,
        control: &mut Control,
        maker: Maker<'_>,
    ) -> Result<Made, Error> {
        let Maker { gpu, kernels, limits, label } = maker;
        let plan = plan::plan(&input, &registry.plane_elements(), limits);
        let binder = Binder { gpu, buffers: &registry.buffers, windows: registry.windows(), limits };
        let hyper_stride = plan.hyper_stride as usize;
        let blocks = input.classes.len() * hyper_stride;
        let ledger = Ledger::new(&plan, control.measured(), stepping.len(), blocks, limits);
        let name = |dispatch: &Dispatch| dispatch_label(label, dispatch, registry);
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

/// What a GPU debugger shows of a dispatch.
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
