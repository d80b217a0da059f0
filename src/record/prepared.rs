//! What the next steps record: a plan of them, and all that recording it takes.

use std::collections::HashMap;

use crate::control::Control;
use crate::error::Error;
use crate::layout::{ClassRequest, HYPERS, Hyper, NORM_ELEMENTS, TILE_ELEMENTS, Tile};
use crate::optimizer::WgpuAdam;
use crate::options::adam::AdamConfig;
use crate::plan::ledger::Ledger;
use crate::plan::{self, Class, Code, Dispatch, Input, Place, Work};
use crate::record::bound::{Binder, Bound};
use crate::record::bound_control::BoundControl;
use crate::record::request;
use crate::record::slots::Maker;
use crate::registry::Registry;
use crate::registry::windows::{Window, WindowLayout};

/// What the next steps record.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// What it was made from.
    pub input: Input,
    pub bound: Bound,
    /// Where the device decides.
    pub control: Option<BoundControl>,
    pub classes: Vec<ClassCount>,
    /// Groups whose options are those of an earlier group, and that group: they share classes while that is so.
    pub alike: Vec<(u32, u32)>,
    /// The parameters that have gradients.
    pub stepping: Vec<u32>,
    /// Hyper blocks from one class to the next.
    pub hyper_stride: usize,
    /// Reused for every step's hyper blocks, or request.
    pub hypers: Vec<Hyper>,
    pub request: Vec<u8>,
}

/// A class of the plan: its group, the step count of its tensors, and the first of these.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClassCount {
    pub group: u32,
    pub step: u64,
    pub tensor: u32,
}

impl WgpuAdam {
    /// Makes a plan of what is to be stepped, and all that recording it takes, unless it is the one at hand.
    pub(crate) fn prepare(&mut self) -> Result<(), Error> {
        // Without memory for that they stay where they are, and take more dispatches.
        let _ = self.registry.gather(&self.limits, |layouts| Window::create(&self.gpu, layouts));
        if self.control.may_skip() {
            self.control.is_parted |= self.registry.part_histories();
        }
        let (input, classes, alike) = input(&self.registry, &self.control);
        let stepping = self.registry.tensors().filter(|(_, tensor)| tensor.grad.is_some());
        let stepping: Vec<u32> = stepping.map(|(number, _)| number).collect();
        // The ledger has the numbers of the stepping tensors, of which some have no elements.
        let decides = self.control.decides();
        let measured = self.control.measured();
        let same = match &self.prepared.control {
            Some(bound) => decides && bound.measured == measured && stepping == self.prepared.stepping,
            None => !decides,
        };
        if input != self.prepared.input || !same {
            let tensors = self.registry.next_number();
            let Self { registry, gpu, buffers, limits, kernels, number, control, .. } = self;
            let plan = plan::plan(&input, &registry.planes(), limits);
            let binder = Binder { gpu, buffers, windows: registry.windows(), limits };
            let label = |dispatch: &Dispatch| label(*number, dispatch, registry);
            let hyper_stride = plan.hyper_stride as usize;
            let blocks = input.classes.len() * hyper_stride;
            let ledger = Ledger::new(&plan, measured, stepping.len(), blocks, limits);
            let bound = binder.bind(&plan, &ledger.grids, kernels, &self.prepared.bound, label)?;
            let mut bytes = blocks * size_of::<Hyper>();
            let mut grown = None;
            let control = match control.controller.as_mut().filter(|_| decides) {
                Some(controller) => {
                    bytes = bytes.max(request::size(input.classes.len()));
                    grown = controller.skipped.grown(gpu, kernels, tensors)?;
                    let skipped = grown.as_ref().map_or(&controller.skipped.current, |grown| &grown.current).clone();
                    Some(binder.bind_control(&plan, &ledger, &stepping, controller, &skipped, kernels)?)
                }
                None => None,
            };
            self.slots.fit(bytes, Maker { gpu: &self.gpu, layouts: &self.kernels.layouts })?;
            if let Some((controller, grown)) = self.control.controller.as_mut().zip(grown) {
                controller.skipped = grown;
            }
            self.prepared = Prepared { input, bound, control, hyper_stride, ..Prepared::default() };
            self.release_buffers();
        }
        self.prepared.classes = classes;
        self.prepared.alike = alike;
        self.prepared.stepping = stepping;
        self.stale = false;
        Ok(())
    }

    /// The dispatches that step parameters: what a step's cost on the GPU depends on, beside its memory traffic. One for
    /// all small tensors of an arena. Left out: where gradients are clipped by norm or steps may be skipped, one that
    /// decides and, if gradients are measured, as many again for that; the clears of
    /// [`zero_grad_after_step`](crate::GradientControl::zero_grad_after_step).
    ///
    /// Those of the next step, if parameters and gradients stay as they are. Where they have changed since the last step it
    /// is planned to be counted, and again to be recorded.
    #[must_use]
    pub fn dispatch_count(&self) -> usize {
        if !self.stale {
            return self.prepared.bound.dispatches.len();
        }
        let mut draft = self.registry.clone();
        let any_buffer = draft.windows().iter().flatten().next().map(|window| window.buffer.clone());
        let stand_in = |layout: &WindowLayout| Some(Window::new(any_buffer.clone()?, *layout));
        // Cannot fail: nothing is made.
        let _ = draft.gather(&self.limits, |layouts| Ok(layouts.iter().filter_map(stand_in).collect()));
        if self.control.may_skip() {
            draft.part_histories();
        }
        let (input, ..) = input(&draft, &self.control);
        plan::plan(&input, &draft.planes(), &self.limits).dispatches.len()
    }

    /// Whether what a plan needs may be larger than the device's limits allow: by bounds that need no plan.
    pub(crate) fn may_exceed_limits(&self) -> bool {
        let (pieces, tensors, elements) = self.registry.totals();
        // A piece has a body and two ends; a dispatch has a frame in 256 bytes.
        let spans = 3 * pieces;
        let table = spans * 256 + (elements / u64::from(TILE_ELEMENTS) + 17 * spans) * size_of::<Tile>() as u64;
        let requests = tensors * size_of::<ClassRequest>() as u64;
        let ledger = if self.control.decides() {
            let partials = 2 * elements / u64::from(NORM_ELEMENTS) + 32 * spans;
            let blocks = (tensors + 2 * u64::from(HYPERS)) * size_of::<Hyper>() as u64;
            partials * 16 + blocks + tensors * 8
        } else {
            0
        };
        let largest = self.gpu.device.limits().max_buffer_size;
        table > largest || requests > largest / 2 || ledger > self.gpu.storage_limit().1
    }

    /// Drops the handles of buffers in which no parameter and no gradient lies any more.
    pub(crate) fn release_buffers(&mut self) {
        let spots = self.registry.tensors().flat_map(|(_, tensor)| [Some(tensor.param), tensor.grad]).flatten();
        self.buffers.retain(&spots.map(|spot| spot.place.buffer).collect());
    }
}

/// What a plan is made from, the group and step count of each of its classes, and the groups that share classes with an
/// earlier group.
fn input(registry: &Registry, control: &Control) -> (Input, Vec<ClassCount>, Vec<(u32, u32)>) {
    let mut input = Input::default();
    let mut classes: Vec<ClassCount> = Vec::new();
    let mut firsts: HashMap<[u64; 7], u32> = HashMap::new();
    let mut alike = Vec::new();
    let first_alike: Vec<u32> = (0..)
        .zip(&registry.groups)
        .map(|(number, group)| {
            let first = *firsts.entry(group.config.bits()).or_insert(number);
            if first != number {
                alike.push((number, first));
            }
            first
        })
        .collect();
    // The classes of each group so far: few, so searched from the latest.
    let mut of_group: Vec<Vec<(u64, u32, u32)>> = vec![Vec::new(); registry.groups.len()];
    for (piece, tensor) in registry.pieces() {
        let Some(grad) = tensor.grad else { continue };
        let group_number = first_alike.get(tensor.group as usize).copied().unwrap_or(tensor.group);
        let (Some(group), Some(known)) =
            (registry.groups.get(group_number as usize), of_group.get_mut(group_number as usize))
        else {
            continue;
        };
        let class =
            match known.iter().rev().find(|(step, history, _)| (*step, *history) == (tensor.step, tensor.history)) {
                Some(&(.., class)) => class,
                None => {
                    let class = classes.len() as u32;
                    known.push((tensor.step, tensor.history, class));
                    classes.push(ClassCount { group: group_number, step: tensor.step, tensor: piece.tensor });
                    input.classes.push(Class {
                        group: group_number,
                        code: Code {
                            gradient_control: control.in_kernel(),
                            clip_value: control.options.clip_value.is_some(),
                            ..Code::of(&group.config)
                        },
                        padding_stays_zero: group.config.eps > 0.0,
                    });
                    class
                }
            };
        let is_end = piece.start + piece.length == tensor.length;
        input.work.push(Work {
            tensor: piece.tensor,
            class,
            param: Place { start: piece.param, ..tensor.param.place },
            grad: Place { start: grad.place.start + piece.start, ..grad.place },
            window: piece.window,
            moment: piece.moment,
            length: piece.length,
            padding: if is_end { piece.padding.min(grad.padding) } else { 0 },
        });
    }
    (input, classes, alike)
}

impl Code {
    fn of(config: &AdamConfig) -> Self {
        Self { amsgrad: config.amsgrad, decoupled_weight_decay: config.decoupled_weight_decay, ..Self::default() }
    }
}

/// What a GPU debugger shows of a dispatch.
fn label(number: u32, dispatch: &Dispatch, registry: &Registry) -> String {
    let name = |tensor: u32| {
        let group = registry.tensor(tensor).map_or(0, |tensor| tensor.group);
        format!("{} of group {group}", registry.describe(tensor))
    };
    let (first, last) = dispatch.tensors;
    if dispatch.pieces == 1 {
        format!("wgpu_adam {number}: {}", name(first))
    } else {
        format!("wgpu_adam {number}: {} pieces, {} to {}", dispatch.pieces, name(first), name(last))
    }
}
