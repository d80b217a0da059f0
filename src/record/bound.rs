//! A plan ready to record: its pipelines, its bind groups, and the buffer of its frames and tile records.
//!
//! All of it is created for each plan and never written again, because steps that are recorded and not yet submitted
//! may still read it. Only the bind groups of tensors outlive a plan.

use std::collections::HashMap;

use crate::device::gpu::{Gpu, part};
use crate::error::Error;
use crate::kernels::Kernels;
use crate::layout::{Frame, Hyper, Tile, binding};
use crate::plan::{Binding, Dispatch, Limits, NormGrid, Plan};
use crate::registry::buffers::Buffers;
use crate::registry::windows::Window;

/// What a bind group of tensors binds: parameters, gradients, the window of state.
type TensorsKey = (Binding, Option<Binding>, u32);

/// A plan's dispatches, ready to record.
#[derive(Debug, Default)]
pub(crate) struct Bound {
    pub dispatches: Vec<BoundDispatch>,
    tensors: HashMap<TensorsKey, wgpu::BindGroup>,
}

#[derive(Debug)]
pub(crate) struct BoundDispatch {
    pub pipeline: wgpu::ComputePipeline,
    pub tensors: wgpu::BindGroup,
    pub plan: wgpu::BindGroup,
    /// The dispatch's frame in the plan's buffer, in bytes.
    pub frame: u32,
    /// The place of its hyper blocks in the step's slot, in bytes.
    pub hypers: u64,
    pub workgroups: (u32, u32),
    pub label: String,
}

impl Bound {
    /// Records the dispatches that step parameters. The hyper blocks begin at `offset` bytes.
    pub(crate) fn record(&self, pass: &mut wgpu::ComputePass<'_>, hypers: &wgpu::BindGroup, offset: u64) {
        for dispatch in &self.dispatches {
            pass.push_debug_group(&dispatch.label);
            pass.set_pipeline(&dispatch.pipeline);
            pass.set_bind_group(0, &dispatch.tensors, &[]);
            pass.set_bind_group(1, &dispatch.plan, &[dispatch.frame]);
            pass.set_bind_group(2, hypers, &[(offset + dispatch.hypers) as u32]);
            pass.dispatch_workgroups(dispatch.workgroups.0, dispatch.workgroups.1, 1);
            pass.pop_debug_group();
        }
    }
}

const WHAT: &str = "the buffer and bind groups of a plan";

/// Everything that binding a plan needs besides the plan.
#[derive(Clone, Copy)]
pub(crate) struct Binder<'a> {
    pub gpu: &'a Gpu,
    pub buffers: &'a Buffers,
    pub windows: &'a [Option<Window>],
    pub limits: &'a Limits,
}

impl Binder<'_> {
    /// Creates what the plan needs, and reuses what the plan before has. `label` names a dispatch.
    pub(crate) fn bind(
        self,
        plan: &Plan,
        norm_grids: &[NormGrid],
        kernels: &Kernels,
        before: &Bound,
        label: impl Fn(&Dispatch) -> String,
    ) -> Result<Bound, Error> {
        let table = Table::new(plan, norm_grids, self.limits, &self.gpu.device.limits())?;
        let mut pipelines = Vec::with_capacity(plan.dispatches.len());
        for dispatch in &plan.dispatches {
            pipelines.push(kernels.pipeline(self.gpu, dispatch.kernel)?);
        }
        // Unreachable, because plans are made from these bindings. Reported anyway: a silently skipped tensor would be
        // worse.
        let missing = || Error::Device { what: WHAT.into(), message: "a plan names a buffer that is not there".into() };
        self.gpu.guard.run(WHAT, || {
            let plan_groups = table.create(plan, self, &kernels.layouts.plan);
            let mut bound = Bound::default();
            let placed = plan.dispatches.iter().zip(&table.first_records).zip(pipelines);
            for (number, ((dispatch, first_record), pipeline)) in placed.enumerate() {
                let key = (dispatch.param, dispatch.grad, dispatch.window);
                let made = bound.tensors.get(&key).or_else(|| before.tensors.get(&key)).cloned();
                let tensors = made.or_else(|| self.tensors(dispatch, kernels)).ok_or_else(missing)?;
                let plan = plan_groups.get(first_record).cloned().ok_or_else(missing)?;
                bound.tensors.insert(key, tensors.clone());
                bound.dispatches.push(BoundDispatch {
                    pipeline,
                    tensors,
                    plan,
                    frame: (number as u64 * table.frame_stride) as u32,
                    hypers: u64::from(dispatch.first_hyper) * size_of::<Hyper>() as u64,
                    workgroups: dispatch.workgroups,
                    label: label(dispatch),
                });
            }
            Ok(bound)
        })?
    }

    fn tensors(self, dispatch: &Dispatch, kernels: &Kernels) -> Option<wgpu::BindGroup> {
        let bound = |binding: &Binding| {
            let buffer = self.buffers.get(binding.buffer)?;
            Some(part(buffer, binding.offset, binding.size))
        };
        let window = self.windows.get(dispatch.window as usize)?.as_ref()?;
        // A buffer must be bound as gradients, even where gradients are read through the parameters' binding.
        let grad = dispatch.grad.as_ref().map_or(Some(kernels.unused.as_entire_binding()), bound)?;
        let window = window.buffer.as_entire_binding();
        let resources = [(binding::PARAM, bound(&dispatch.param)?), (binding::GRAD, grad), (binding::MOMENTS, window)];
        Some(self.gpu.bind_group("tensors", &kernels.layouts.tensors, resources))
    }
}

/// The plan's buffer: a frame for each dispatch, then the tile records.
struct Table {
    frame_stride: u64,
    /// Where the records begin, in bytes.
    records: u64,
    size: u64,
    /// For each dispatch, the record at which its binding of records begins.
    first_records: Vec<u64>,
    /// How the gradients of each dispatch are measured.
    norm_grids: Vec<NormGrid>,
}

impl Table {
    fn new(plan: &Plan, norm_grids: &[NormGrid], limits: &Limits, device: &wgpu::Limits) -> Result<Self, Error> {
        let frame_stride = u64::from(device.min_uniform_buffer_offset_alignment).max(256);
        let records = (plan.dispatches.len() as u64 * frame_stride).next_multiple_of(limits.alignment);
        let size = records + (plan.tiles.len().max(1) * size_of::<Tile>()) as u64;
        let allowed = device.max_buffer_size;
        if size > allowed {
            let what =
                format!("the plan of {} dispatches and {} tile records", plan.dispatches.len(), plan.tiles.len());
            let remedy = "or keep tensors that are stepped together in one arena";
            return Err(Error::DeviceLimit { what, limit: "max_buffer_size", needed: size, allowed, remedy });
        }
        // A dispatch shares the binding of the dispatch before if that reaches its records.
        let reach = limits.binding / size_of::<Tile>() as u64;
        let mut first = 0;
        let first_records = plan.dispatches.iter().map(|dispatch| {
            if let Some((begin, end)) = dispatch.tiles {
                first = if end - first > reach { begin } else { first };
            }
            first
        });
        let first_records = first_records.collect();
        Ok(Self { frame_stride, records, size, first_records, norm_grids: norm_grids.to_vec() })
    }

    /// Creates and fills the buffer. Returns a bind group for each binding of records, by its first record.
    fn create(&self, plan: &Plan, binder: Binder<'_>, layout: &wgpu::BindGroupLayout) -> HashMap<u64, wgpu::BindGroup> {
        let gpu = binder.gpu;
        let buffer = gpu.buffer(
            "plan",
            self.size,
            wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        );
        gpu.queue.write_buffer(&buffer, 0, &self.contents(plan));
        let reach = binder.limits.binding / size_of::<Tile>() as u64 * size_of::<Tile>() as u64;
        let mut groups = HashMap::new();
        for &first in &self.first_records {
            groups.entry(first).or_insert_with(|| {
                let offset = self.records + first * size_of::<Tile>() as u64;
                let tiles = part(&buffer, offset, (self.size - offset).min(reach));
                let frame = part(&buffer, 0, size_of::<Frame>() as u64);
                gpu.bind_group("plan", layout, [(binding::TILES, tiles), (binding::FRAME, frame)])
            });
        }
        groups
    }

    fn contents(&self, plan: &Plan) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.size as usize);
        let placed = plan.dispatches.iter().zip(&self.first_records).zip(&self.norm_grids);
        for ((dispatch, first_record), norm) in placed {
            let first_tile = dispatch.tiles.map_or(0, |(begin, _)| (begin - first_record) as u32);
            let frame = Frame { first_tile, first_partial: norm.first_partial, ..dispatch.frame };
            let end = bytes.len() + self.frame_stride as usize;
            bytes.extend_from_slice(bytemuck::bytes_of(&frame));
            bytes.resize(end, 0);
        }
        bytes.resize(self.records as usize, 0);
        bytes.extend_from_slice(bytemuck::cast_slice(&plan.tiles));
        bytes.resize(self.size as usize, 0);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::Table;
    use crate::plan::sharing::Sharing;
    use crate::plan::{self, Class, Code, Input, Limits, NormGrid, Place, Work};
    use crate::wgpu;

    /// Dispatches share a binding of tile records as long as it reaches all of their records.
    #[test]
    fn tile_records_within_reach() {
        let sharing = Sharing { long_quads_log2: 0, tile_quads_log2: 1, neighbours: false, control_invocations: 256 };
        let place = |buffer, number: u32| Place { buffer, start: u64::from(number) * 64 };
        let work = |number: u32| {
            let (param, grad, moment) = (place(0, number), place(1, number), u64::from(number) * 64);
            Work { tensor: number, class: number, param, grad, window: 0, moment, length: 64, padding: 0 }
        };
        let class = |group| Class { group, code: Code::default(), padding_stays_zero: true };
        let input = Input { work: (0..1200).map(work).collect(), classes: (0..1200).map(class).collect() };
        // 512, 512 and 176 records.
        let cases = [(512, [0, 512, 1024]), (1000, [0, 512, 512]), (1024, [0, 0, 1024]), (1200, [0, 0, 0])];
        for (reach, want) in cases {
            let binding = reach * 16;
            let (alignment, workgroups, workgroup_size, hyper_alignment) = (256, 65_535, 256, 8);
            let limits = Limits { binding, alignment, workgroups, workgroup_size, sharing, hyper_alignment };
            let plan = plan::plan(&input, &[1200 * 64], &Limits { binding: 1 << 27, ..limits });
            let table = Table::new(&plan, &[NormGrid::default(); 3], &limits, &wgpu::Limits::default()).unwrap();
            assert_eq!(table.first_records, want, "a reach of {reach} records");
            // Shaders count records from there on.
            let contents = table.contents(&plan);
            let first_tile = std::mem::offset_of!(super::Frame, first_tile);
            for (number, (begin, first)) in [0_u64, 512, 1024].into_iter().zip(want).enumerate() {
                let at = number * table.frame_stride as usize + first_tile;
                assert_eq!(
                    contents[at..at + 4],
                    ((begin - first) as u32).to_ne_bytes(),
                    "dispatch {number} of {reach}"
                );
            }
        }
    }
}
