//! The stepper: keeps what the next steps record up to date with the registry and with gradient control.

use std::sync::Arc;

use super::clears::{Clear, plan_clears};
use super::prepared::{Made, Maker, Prepared};
use super::slots::Slots;
use crate::control::Control;
use crate::device::gpu::Gpu;
use crate::error::Error;
use crate::kernels::Kernels;
use crate::layout::{ClassRequest, HYPERS, Hyper, NORM_ELEMENTS, TILE_ELEMENTS, Tile};
use crate::plan::{self, Limits};
use crate::registry::Registry;
use crate::registry::windows::{Window, WindowLayout};

#[derive(Debug)]
pub(crate) struct Stepper {
    pub gpu: Gpu,
    pub kernels: Arc<Kernels>,
    pub limits: Limits,
    pub(super) slots: Slots,
    pub prepared: Prepared,
    /// Whether parameters, gradients or options may have changed since `prepared` was made.
    pub(super) is_stale: bool,
    /// Whether options have changed that affect a plan only where groups share classes and now differ.
    pub(super) options_changed: bool,
    /// The ranges that zero_grad clears. `None` if gradients have changed since.
    pub(super) clears: Option<Vec<Clear>>,
}

impl Stepper {
    pub(crate) fn new(gpu: Gpu) -> Result<Self, Error> {
        let kernels = Kernels::of(&gpu)?;
        let device = gpu.device.limits();
        let limits = Limits {
            // Shaders count elements in u32, four at a time.
            binding: device.max_storage_buffer_binding_size.min(device.max_buffer_size).min(1 << 31),
            alignment: u64::from(device.min_storage_buffer_offset_alignment).max(256),
            workgroups: device.max_compute_workgroups_per_dimension,
            workgroup_size: kernels.grid.workgroup_size,
            sharing: kernels.grid.sharing,
            hyper_alignment: device.min_uniform_buffer_offset_alignment.max(256) / size_of::<Hyper>() as u32,
        };
        let (slots, prepared) = (Slots::new(), Prepared::default());
        let (is_stale, options_changed, clears) = (false, false, None);
        Ok(Self { gpu, kernels, limits, slots, prepared, is_stale, options_changed, clears })
    }

    /// Makes the next step check its plan. It makes a new plan unless the current one still fits.
    pub(crate) fn set_stale(&mut self) {
        self.is_stale = true;
    }

    /// Notes that parameters or gradients were added, removed or given other places.
    pub(crate) fn tensors_changed(&mut self) {
        self.is_stale = true;
        self.clears = None;
    }

    /// Notes that gradients have other places, which the current plan already has.
    pub(crate) fn forget_clears(&mut self) {
        self.clears = None;
    }

    /// Notes that options have changed which do not require a new plan by themselves.
    pub(crate) fn note_options(&mut self) {
        self.options_changed = true;
    }

    /// Drops the current plan, and with it everything that only the plan still holds.
    pub(crate) fn drop_plan(&mut self) {
        self.prepared = Prepared::default();
        self.tensors_changed();
    }

    /// Drops the plan's part of gradient control, because its bind group has counts that are no longer in force.
    pub(crate) fn drop_bound_control(&mut self) {
        self.prepared.control = None;
        self.is_stale = true;
    }

    /// Plans the next steps and creates everything that recording them needs, unless the current plan still fits. After
    /// an error the current plan is still in force.
    pub(crate) fn prepare(&mut self, registry: &mut Registry, control: &mut Control) -> Result<(), Error> {
        // If there is no memory for that, tensors stay where they are and take more dispatches.
        let _ = registry.gather(&self.limits, |layouts| Window::create(&self.gpu, layouts));
        if control.may_skip() {
            control.is_parted |= registry.split_histories();
        }
        let step_work = registry.step_work(control.code());
        let stepping = registry.tensors().filter(|(_, tensor)| tensor.grad.is_some());
        let stepping: Vec<u32> = stepping.map(|(number, _)| number).collect();
        if !self.prepared.is_of(&step_work.input, control, &stepping) {
            let Self { gpu, kernels, limits, .. } = &*self;
            let maker = Maker { gpu, kernels, limits };
            let made = self.prepared.make(step_work.input, &stepping, registry, control, maker)?;
            let Made { prepared, grown, slot_bytes } = made;
            self.slots.fit(slot_bytes, &self.gpu, &self.kernels.layouts)?;
            if let Some((controller, grown)) = control.controller.as_mut().zip(grown) {
                controller.skipped = grown;
            }
            self.prepared = prepared;
            registry.release_buffers();
        }
        self.prepared.classes = step_work.classes;
        self.prepared.alike = step_work.alike;
        self.prepared.stepping = stepping;
        self.is_stale = false;
        Ok(())
    }

    /// Returns the number of dispatches that step parameters: of the current plan, or of the one that the next step
    /// will make.
    pub(crate) fn dispatch_count(&self, registry: &Registry, control: &Control) -> usize {
        if !self.is_stale {
            return self.prepared.bound.dispatches.len();
        }
        let mut draft = registry.clone();
        let any_buffer = draft.windows().iter().flatten().next().map(|window| window.buffer.clone());
        let stand_in = |layout: &WindowLayout| Some(Window::new(any_buffer.clone()?, *layout));
        // Cannot fail, because nothing is created.
        let _ = draft.gather(&self.limits, |layouts| Ok(layouts.iter().filter_map(stand_in).collect()));
        if control.may_skip() {
            draft.split_histories();
        }
        let input = draft.step_work(control.code()).input;
        plan::plan(&input, &draft.plane_elements(), &self.limits).dispatches.len()
    }

    /// Whether a plan may need more than the device's limits allow. Uses upper bounds that need no plan.
    pub(crate) fn may_exceed_limits(&self, registry: &Registry, control: &Control) -> bool {
        let (pieces, tensors, elements) = registry.totals();
        // A piece has a body and two ends. A dispatch has a frame of 256 bytes.
        let spans = 3 * pieces;
        let table = spans * 256 + (elements / u64::from(TILE_ELEMENTS) + 17 * spans) * size_of::<Tile>() as u64;
        let requests = tensors * size_of::<ClassRequest>() as u64;
        let ledger = if control.decides() {
            let partials = 2 * elements / u64::from(NORM_ELEMENTS) + 32 * spans;
            let blocks = (tensors + 2 * u64::from(HYPERS)) * size_of::<Hyper>() as u64;
            partials * 16 + blocks + tensors * 8
        } else {
            0
        };
        let largest = self.gpu.device.limits().max_buffer_size;
        table > largest || requests > largest / 2 || ledger > self.gpu.storage_limit().1
    }

    /// Returns the clears that fill gradients with zeros, or an error if a gradient cannot be cleared.
    pub(crate) fn clears(&mut self, registry: &Registry) -> Result<&[Clear], Error> {
        let clears = match self.clears.take() {
            Some(clears) => clears,
            None => plan_clears(registry)?,
        };
        Ok(self.clears.insert(clears))
    }

    /// Returns the steps that are recorded and not done.
    pub(crate) fn outstanding(&self) -> crate::device::leases::Outstanding {
        self.slots.outstanding()
    }
}
