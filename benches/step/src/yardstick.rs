//! The yardsticks: a copy that moves the bytes of a step, and a handwritten loop of dispatches.

use anyhow::{Context, Result, ensure};
use wgpu::BufferUsages as Usage;

use crate::adam::Adam;
use crate::device::{Gpu, Span};
use crate::layout::{Frame, Hyper, overrides};
use crate::rounds::Contender;

/// Invocations of a workgroup, as in the library.
const WORKGROUP_SIZE: u32 = 256;

const COPY: &str = include_str!("copy.wgsl");
const ADAM: &str =
    concat!(include_str!("../../../shaders/storage_vec4.wgsl"), include_str!("../../../shaders/adam.wgsl"));
/// Bytes of `hypers` in adam.wgsl.
const HYPERS: u64 = 16 << 10;

/// Reads 4 planes and writes 3; with amsgrad reads 5 and writes 4. One tensor, in buffers laid out as for a step.
pub struct Copy {
    pipeline: wgpu::ComputePipeline,
    bindings: wgpu::BindGroup,
    workgroups: u32,
    /// Parameters, gradients, moments.
    #[cfg(test)]
    buffers: [wgpu::Buffer; 3],
}

impl Copy {
    pub fn new(gpu: &Gpu, elements: u64, amsgrad: bool) -> Result<Self> {
        let quads = elements.div_ceil(4);
        let (quads_log2, workgroups) = flat_grid(gpu, elements)?;
        ensure!(workgroups <= gpu.device.limits().max_compute_workgroups_per_dimension, "too long for one row");
        let planes = if amsgrad { 3 } else { 2 };
        let (param, grad, moments) = (gpu.storage(4 * quads), gpu.storage(4 * quads), gpu.storage(4 * quads * planes));
        gpu.fill([&param, &grad, &moments].map(Span::whole))?;
        let frame = gpu.buffer(8, Usage::UNIFORM | Usage::COPY_DST);
        gpu.queue.write_buffer(&frame, 0, bytemuck::bytes_of(&[quads as u32; 2]));
        let constants = [
            ("WORKGROUP_SIZE", f64::from(WORKGROUP_SIZE)),
            ("QUADS_LOG2", f64::from(quads_log2)),
            ("AMSGRAD", f64::from(u8::from(amsgrad))),
        ];
        let pipeline = pipeline(gpu, COPY, None, &constants);
        let buffers = [&param, &grad, &moments, &frame].map(wgpu::Buffer::as_entire_binding);
        let bindings = bind(gpu, &pipeline.get_bind_group_layout(0), buffers);
        Ok(Self {
            pipeline,
            bindings,
            workgroups,
            #[cfg(test)]
            buffers: [param, grad, moments],
        })
    }
}

impl Contender for Copy {
    fn encode(&mut self, encoder: &mut wgpu::CommandEncoder) -> Result<()> {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bindings, &[]);
        pass.dispatch_workgroups(self.workgroups, 1, 1);
        Ok(())
    }
}

/// The calls that the loop makes for each tensor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// One bind group with the tensor's buffers, and the dispatch: the minimum.
    Least,
    /// All three bind groups with their offsets, and the dispatch: the same calls as the library.
    Library,
}

/// One dispatch per tensor, with bind groups made beforehand. It runs the library's own kernel over the buffers of an
/// optimizer whose tensors have equal length and separate buffers.
pub struct Loop {
    queue: wgpu::Queue,
    pipeline: wgpu::ComputePipeline,
    tensors: Vec<wgpu::BindGroup>,
    frame: wgpu::BindGroup,
    step: wgpu::BindGroup,
    hypers: wgpu::Buffer,
    workgroups: u32,
    t: i32,
    calls: Calls,
}

impl Loop {
    pub fn new(gpu: &Gpu, like: &Adam, calls: Calls) -> Result<Self> {
        let length = like.tensors.first().context("no tensor")?.elements;
        ensure!(length % 4 == 0 && like.tensors.iter().all(|tensor| tensor.elements == length), "odd lengths");
        let uniform = |place| layout_entry(place, wgpu::BufferBindingType::Uniform, true);
        let storage = |place, read_only| layout_entry(place, wgpu::BufferBindingType::Storage { read_only }, false);
        let layouts = [
            layout(gpu, &[storage(0, false), storage(1, true), storage(2, false)]),
            layout(gpu, &[storage(0, true), uniform(1)]),
            layout(gpu, &[uniform(0)]),
        ];
        let pipeline_layout = gpu.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some("loop"),
            bind_group_layouts: &layouts.each_ref().map(Some),
            immediate_size: 0,
        });
        let (quads_log2, workgroups) = flat_grid(gpu, length)?;
        let constants = [
            (overrides::WORKGROUP_SIZE, f64::from(WORKGROUP_SIZE)),
            (overrides::QUADS_LOG2, f64::from(quads_log2)),
            (overrides::AT_START, 1.0),
        ];
        let pipeline = pipeline(gpu, ADAM, Some(&pipeline_layout), &constants);
        let tensors = like.tensors.iter().zip(like.state()?).map(|(tensor, state)| {
            let buffers = [tensor.param.buffer(), tensor.grad.buffer(), &state];
            let buffers = buffers.map(wgpu::Buffer::as_entire_binding);
            bind(gpu, &layouts[0], buffers)
        });
        let tensors = tensors.collect();
        // All tensors begin at the start of their buffers.
        let values = Frame { length: length as u32, plane: length as u32, ..Frame::default() };
        let frame = gpu.buffer(size_of::<Frame>() as u64, Usage::UNIFORM | Usage::COPY_DST);
        gpu.queue.write_buffer(&frame, 0, bytemuck::bytes_of(&values));
        let hypers = gpu.buffer(HYPERS, Usage::UNIFORM | Usage::COPY_DST);
        let no_tiles = gpu.storage(4);
        Ok(Self {
            queue: gpu.queue.clone(),
            pipeline,
            tensors,
            frame: bind(gpu, &layouts[1], [no_tiles.as_entire_binding(), frame.as_entire_binding()]),
            step: bind(gpu, &layouts[2], [hypers.as_entire_binding()]),
            hypers,
            workgroups,
            t: 0,
            calls,
        })
    }

    /// The hyper block of torch's defaults for the next step.
    fn hyper(&mut self) -> Hyper {
        self.t += 1;
        let (lr, beta1, beta2, eps) = (1e-3, 0.9_f64, 0.999_f64, 1e-8);
        let root = (1.0 - beta2.powi(self.t)).sqrt();
        Hyper {
            exp_avg_weight: (1.0 - beta1) as f32,
            exp_avg_sq_weight: (1.0 - beta2) as f32,
            step_size: (lr * root / (1.0 - beta1.powi(self.t))) as f32,
            denom_eps: (eps * root) as f32,
            weight_decay: 0.0,
            grad_scale: 1.0,
            clip_value: f32::INFINITY,
            flags: 0,
        }
    }
}

impl Contender for Loop {
    fn encode(&mut self, encoder: &mut wgpu::CommandEncoder) -> Result<()> {
        let hyper = self.hyper();
        self.queue.write_buffer(&self.hypers, 0, bytemuck::bytes_of(&hyper));
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(1, &self.frame, &[0]);
        pass.set_bind_group(2, &self.step, &[0]);
        for tensor in &self.tensors {
            pass.set_bind_group(0, tensor, &[]);
            if self.calls == Calls::Library {
                pass.set_bind_group(1, &self.frame, &[0]);
                pass.set_bind_group(2, &self.step, &[0]);
            }
            pass.dispatch_workgroups(self.workgroups, 1, 1);
        }
        Ok(())
    }
}

/// For a flat dispatch over this many elements: log2 of the quads per invocation, and the workgroups.
fn flat_grid(gpu: &Gpu, elements: u64) -> Result<(u32, u32)> {
    let quads_log2 = gpu.sharing().flat_quads_log2(elements, WORKGROUP_SIZE);
    let of_workgroup = u64::from(WORKGROUP_SIZE) << (2 + quads_log2);
    Ok((quads_log2, u32::try_from(elements.div_ceil(of_workgroup))?))
}

fn pipeline(
    gpu: &Gpu,
    source: &'static str,
    layout: Option<&wgpu::PipelineLayout>,
    constants: &[(&str, f64)],
) -> wgpu::ComputePipeline {
    let source = wgpu::ShaderSource::Wgsl(source.into());
    let module = gpu.device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some("yardstick"), source });
    gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("yardstick"),
        layout,
        module: &module,
        entry_point: None,
        compilation_options: wgpu::PipelineCompilationOptions { constants, ..Default::default() },
        cache: None,
    })
}

fn layout_entry(binding: u32, ty: wgpu::BufferBindingType, has_dynamic_offset: bool) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: None },
        count: None,
    }
}

fn layout(gpu: &Gpu, entries: &[wgpu::BindGroupLayoutEntry]) -> wgpu::BindGroupLayout {
    gpu.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some("yardstick"), entries })
}

/// A bind group of these buffers, at bindings 0, 1, 2 and so on.
fn bind<const N: usize>(
    gpu: &Gpu,
    layout: &wgpu::BindGroupLayout,
    resources: [wgpu::BindingResource<'_>; N],
) -> wgpu::BindGroup {
    let entries: Vec<_> =
        (0..).zip(resources).map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource }).collect();
    gpu.device.create_bind_group(&wgpu::BindGroupDescriptor { label: Some("yardstick"), layout, entries: &entries })
}

#[cfg(test)]
mod tests {
    use pollster::block_on;
    use wgpu_adam_suite::{adapter::adapters, readback::read_f32};

    use super::*;
    use crate::models::equal;
    use crate::rounds::measure;

    /// Each adapter's device, both as the suite's readback and as the benchmark needs it.
    fn devices() -> Vec<(wgpu_adam_suite::Gpu, Gpu)> {
        let open = |adapter: &wgpu::Adapter| block_on(wgpu_adam_suite::Gpu::full(adapter)).unwrap();
        let both = |gpu: wgpu_adam_suite::Gpu| {
            let (name, device, queue) = (gpu.adapter_name.clone(), gpu.device.clone(), gpu.queue.clone());
            (gpu, Gpu { name, device, queue })
        };
        block_on(adapters()).iter().map(open).map(both).collect()
    }

    fn run(gpu: &Gpu, contender: &mut dyn Contender) {
        let mut encoder = gpu.encoder();
        contender.encode(&mut encoder).unwrap();
        gpu.wait(gpu.queue.submit([encoder.finish()])).unwrap();
    }

    #[test]
    fn the_copy_reads_and_writes_every_plane() {
        for (suite, gpu) in devices() {
            for (amsgrad, planes) in [(false, 2), (true, 3)] {
                let elements = 5000;
                let mut copy = Copy::new(&gpu, elements, amsgrad).unwrap();
                let read = |copy: &Copy| {
                    let lengths = [
                        (&copy.buffers[0], elements),
                        (&copy.buffers[1], elements),
                        (&copy.buffers[2], planes * elements),
                    ];
                    let values = lengths.map(|(buffer, length)| block_on(read_f32(&suite, buffer, 0, length)).unwrap());
                    let [param, grad, moments] = values.map(|v| v.into_iter().map(f32::to_bits).collect::<Vec<_>>());
                    (param, grad, moments)
                };
                let (param, grad, moments) = read(&copy);
                run(&gpu, &mut copy);
                // Each plane now holds the next one's old content, and the last plane holds the parameters xor the
                // gradients.
                let (first, rest) = moments.split_at(elements as usize);
                let last = param.iter().zip(&grad).map(|(param, grad)| param ^ grad);
                let rotated: Vec<u32> = rest.iter().copied().chain(last).collect();
                assert!(read(&copy) == (first.to_vec(), grad, rotated), "{}: amsgrad {amsgrad}", gpu.name);
            }
        }
    }

    #[test]
    fn the_loop_makes_the_steps_of_the_library() {
        for (suite, gpu) in devices() {
            let shapes = equal(3, 5000);
            for calls in [Calls::Least, Calls::Library] {
                let (like, mut adam) = (Adam::own(&gpu, &shapes).unwrap(), Adam::own(&gpu, &shapes).unwrap());
                let mut by_hand = Loop::new(&gpu, &like, calls).unwrap();
                for _ in 0..3 {
                    run(&gpu, &mut by_hand);
                    run(&gpu, &mut adam);
                }
                for (ours, its) in like.tensors.iter().zip(&adam.tensors) {
                    let [ours, its] =
                        [&ours.param, &its.param].map(|p| block_on(read_f32(&suite, p.buffer(), 0, 5000)).unwrap());
                    assert!(ours.iter().zip(&its).all(|(a, b)| (a - b).abs() < 1e-6), "{}", gpu.name);
                }
            }
        }
    }

    #[test]
    fn contenders_take_turns_and_are_timed() {
        for (_, gpu) in devices() {
            let mut copies = [1000, 2000].map(|elements| Copy::new(&gpu, elements, false).unwrap());
            let [first, second] = &mut copies;
            let times = measure(&gpu, crate::rounds::Rounds::new(true), &mut [first, second]).unwrap();
            assert!(times.iter().all(|times| times.wall.len() == 3 && times.wall.iter().all(|&ms| ms > 0.0)));
        }
    }
}
