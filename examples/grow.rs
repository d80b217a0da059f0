//! A tensor of rows that grows and is pruned while it trains, as splats are, on the GPU: kept rows keep their moments.
//!
//! ```sh
//! cargo run --example grow
//! ```
//!
//! The rows are points that are drawn to the unit circle. They grow by `Moments::Keep` and are pruned by `Moments::From`.

use pollster::block_on;
use wgpu::util::DeviceExt;
use wgpu_adam::{AdamConfig, Moments, TensorArena, TensorBuffer, WgpuAdam, wgpu};

/// The gradient of the sum of (|row| - 1)^2, one invocation a row.
const GRADIENT: &str = "
    @group(0) @binding(0) var<storage, read> rows: array<vec2<f32>>;
    @group(0) @binding(1) var<storage, read_write> grads: array<vec2<f32>>;
    @compute @workgroup_size(64) fn gradient(@builtin(global_invocation_id) id: vec3<u32>) {
        if id.x >= arrayLength(&rows) { return; }
        grads[id.x] = 2.0 * (length(rows[id.x]) - 1.0) * normalize(rows[id.x]);
    }";

/// Row i of `to` is row list[i + 1] of what begins at element list[0] of `source`.
const GATHER: &str = "
    @group(0) @binding(0) var<storage, read> source: array<f32>;
    @group(0) @binding(1) var<storage, read> list: array<u32>;
    @group(0) @binding(2) var<storage, read_write> to: array<vec2<f32>>;
    @compute @workgroup_size(64) fn gather(@builtin(global_invocation_id) id: vec3<u32>) {
        if id.x + 1u >= arrayLength(&list) { return; }
        let first = list[0] + 2u * list[id.x + 1u];
        to[id.x] = vec2<f32>(source[first], source[first + 1u]);
    }";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let adapter = block_on(wgpu::Instance::default().request_adapter(&Default::default()))?;
    let descriptor = wgpu::DeviceDescriptor { required_limits: WgpuAdam::required_limits(), ..Default::default() };
    let (device, queue) = block_on(adapter.request_device(&descriptor))?;
    let gpu = Gpu { device, queue };

    // Points around the centre, some within the circle and some without.
    let point = |angle: f32| [angle.cos(), angle.sin()].map(|coordinate| coordinate * (0.5 + angle / 6.0));
    let spiral = |count| (0..count).flat_map(|i| point(6.0 * i as f32 / count as f32)).collect::<Vec<f32>>();
    let arena = TensorArena::new(&gpu.device, [("points", [10, 2])])?;
    arena.write_param(&gpu.queue, "points", &spiral(10))?;
    let mut adam =
        WgpuAdam::new(&gpu.device, &gpu.queue, arena.params(), AdamConfig { lr: 0.1, ..Default::default() })?;
    let id = adam.find("points").ok_or("the optimizer has the points")?;
    gpu.train(&mut adam, &arena, 20)?;

    // Grow by 20 rows. The old ones stay at the front of the tensor, so `Keep` is enough; the new begin without moments.
    let before = gpu.rows(&adam, &arena)?;
    let grown = TensorArena::new(&gpu.device, [("points", [30, 2])])?;
    grown.write_param(&gpu.queue, "points", &[&before[0][..], &spiral(20)].concat())?;
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    adam.record_replace_param(&mut encoder, id, grown.tensor("points")?, Moments::Keep)?;
    gpu.queue.submit([encoder.finish()]);
    check_rows(&before, &gpu.rows(&adam, &grown)?, &(0..10).collect::<Vec<_>>());
    gpu.train(&mut adam, &grown, 20)?;

    // Prune the points on the left, wherever their rows are. Only the numbers of the kept rows come from the host.
    let before = gpu.rows(&adam, &grown)?;
    let kept: Vec<u32> = (0..30).filter(|row| before[0][2 * *row as usize] > 0.0).collect();
    println!("keeping rows {kept:?} of 30");
    let pruned = TensorArena::new(&gpu.device, [("points", [kept.len(), 2])])?;
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    // The optimizer lends its state: a buffer, and where in it each moment begins. One piece, unless the tensor is huge.
    let piece = &adam.state(id)?.pieces[0];
    let (m, v) = ((&piece.buffer, piece.exp_avg), (&piece.buffer, piece.exp_avg_sq));
    let sources = [grown.param_buffer("points")?, m.into(), v.into()];
    let [rows, m, v] = sources.map(|source| gpu.gather(&mut encoder, &source, &kept));
    encoder.copy_buffer_to_buffer(&rows, 0, pruned.params_buffer(), pruned.offset("points")?, None);
    let moments = Moments::From { exp_avg: (&m).into(), exp_avg_sq: (&v).into(), max_exp_avg_sq: None };
    adam.record_replace_param(&mut encoder, id, pruned.tensor("points")?, moments)?;
    gpu.queue.submit([encoder.finish()]);
    check_rows(&before, &gpu.rows(&adam, &pruned)?, &kept);
    assert_eq!(adam.param(id)?.step, 40, "the step count goes on");
    gpu.train(&mut adam, &pruned, 400)?;
    let rows = block_on(pruned.read_param(&gpu.queue, "points"))?;
    let on_circle = |row: &[f32]| (row[0].hypot(row[1]) - 1.0).abs() < 1e-2;
    assert!(kept.len() < 30 && rows.chunks(2).all(on_circle), "not all points are on the circle");
    Ok(())
}

/// Asserts that kept rows have kept parameters and moments, bit for bit, and that the moments behind them are zero.
fn check_rows(before: &[Vec<f32>; 3], after: &[Vec<f32>; 3], kept: &[u32]) {
    for (plane, (before, after)) in before.iter().zip(after).enumerate() {
        let wanted: Vec<f32> = kept.iter().flat_map(|row| &before[2 * *row as usize..][..2]).copied().collect();
        assert_eq!(wanted, after[..wanted.len()], "a kept row has changed");
        assert!(plane == 0 || after[wanted.len()..].iter().all(|moment| *moment == 0.0), "a new row has moments");
    }
}

struct Gpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
}

impl Gpu {
    fn train(&self, adam: &mut WgpuAdam, arena: &TensorArena, steps: u32) -> Result<(), wgpu_adam::Error> {
        let gradient = self.pass(GRADIENT, &[arena.param("points")?, arena.grad("points")?]);
        for _ in 0..steps {
            let mut encoder = self.device.create_command_encoder(&Default::default());
            gradient(&mut encoder);
            adam.record_step(&mut encoder)?;
            self.queue.submit([encoder.finish()]);
        }
        Ok(())
    }

    /// Records a gather of rows into a new buffer.
    fn gather(&self, encoder: &mut wgpu::CommandEncoder, from: &TensorBuffer, rows: &[u32]) -> wgpu::Buffer {
        // State begins at any multiple of 4 bytes, bindings do not. So the whole buffer is bound, and the shader is told.
        let list = [&[(from.offset() / 4) as u32], rows].concat();
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        let buffer = |contents| wgpu::util::BufferInitDescriptor { label: Some("gather"), contents, usage };
        let list = self.device.create_buffer_init(&buffer(bytemuck::cast_slice(&list)));
        let to = self.device.create_buffer_init(&buffer(&vec![0; 8 * rows.len()]));
        self.pass(GATHER, &[from.buffer(), &list, &to].map(wgpu::Buffer::as_entire_buffer_binding))(encoder);
        to
    }

    /// Parameters, exp_avg and exp_avg_sq, for the checks: training reads nothing back.
    fn rows(&self, adam: &WgpuAdam, arena: &TensorArena) -> Result<[Vec<f32>; 3], wgpu_adam::Error> {
        let state = block_on(adam.state_dict())?.state.remove(&0).expect("one tensor, which has stepped");
        Ok([block_on(arena.read_param(&self.queue, "points"))?, state.exp_avg, state.exp_avg_sq])
    }

    /// A pass of one workgroup, for up to 64 rows, which the returned closure records.
    fn pass(&self, shader: &str, bindings: &[wgpu::BufferBinding]) -> impl Fn(&mut wgpu::CommandEncoder) + use<> {
        let source = wgpu::ShaderSource::Wgsl(shader.into());
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &self.device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source }),
            entry_point: None,
            compilation_options: Default::default(),
            cache: None,
        });
        let bindings = bindings.iter().cloned().map(wgpu::BindingResource::Buffer).zip(0..);
        let entries = bindings.map(|(resource, binding)| wgpu::BindGroupEntry { binding, resource });
        let (entries, layout) = (&entries.collect::<Vec<_>>()[..], &pipeline.get_bind_group_layout(0));
        let bind_group = self.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries });
        move |encoder| {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &bind_group, &[]);
            pass.dispatch_workgroups(1, 1, 1);
        }
    }
}
