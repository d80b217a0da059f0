//! tune ADAPTER N FILE... : interleaves kernels; first is the yardstick.
use std::time::Instant;
use wgpu::BufferUsages as U;
fn main() {
    let a: Vec<String> = std::env::args().skip(1).collect();
    let n: u64 = a[1].parse().unwrap();
    let rounds: usize = std::env::var("ROUNDS").ok().and_then(|s| s.parse().ok()).unwrap_or(25);
    let instance = wgpu::Instance::default();
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::VULKAN));
    let adapter = adapters.iter().find(|x| x.get_info().name.contains(&a[0])).unwrap();
    let (device, queue) = pollster::block_on(
        adapter.request_device(&wgpu::DeviceDescriptor { required_limits: adapter.limits(), ..Default::default() }),
    )
    .unwrap();
    let storage = |bytes: u64, seed: u32, positive: bool| {
        let b = device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: bytes,
            usage: U::STORAGE | U::COPY_DST,
            mapped_at_creation: false,
        });
        let mut s = seed;
        let v: Vec<f32> = (0..bytes / 4)
            .map(|_| {
                s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let x = 0.25 + (s >> 9) as f32 / (1 << 24) as f32;
                if positive || s & 256 == 0 { x } else { -x }
            })
            .collect();
        queue.write_buffer(&b, 0, bytemuck::cast_slice(&v));
        b
    };
    let pad = std::env::var("PAD").ok().and_then(|s| s.parse().ok()).unwrap_or(0u64);
    let param = storage(4 * n + pad, 1, false);
    let grad = storage(4 * n + pad, 2, false);
    let moments = storage(12 * n + pad, 3, true);
    let m1 = storage(4 * n + pad, 3, true);
    let v1 = storage(4 * n + pad, 4, true);
    let tiles = storage(n / 256 * 16, 1, true);
    let hyper_of = |k: u64| if std::env::var("GROUPS").is_ok() { (k % 28) << 16 } else { 0 };
    let records: Vec<u32> = (0..n / 256)
        .flat_map(|k| [256 * k as u32, 256 * k as u32, 256 * k as u32, (256 + hyper_of(k)) as u32])
        .collect();
    queue.write_buffer(&tiles, 0, bytemuck::cast_slice(&records));
    let uni = |words: &[u32]| {
        let b = device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 16384,
            usage: U::UNIFORM | U::COPY_DST | U::STORAGE,
            mapped_at_creation: false,
        });
        let mut w = words.to_vec();
        w.resize(4096, 0);
        queue.write_buffer(&b, 0, bytemuck::cast_slice(&w));
        b
    };
    let f = |x: f32| x.to_bits();
    let one = [
        f(0.1),
        f(0.001),
        f(1e-3),
        f(1e-8),
        f(0.0),
        f(1.0),
        f(f32::INFINITY),
        0,
        // from 8: beta1, beta2, keep1, keep2 ...
        f(0.9),
        f(0.999),
        f(1.0),
        f(1.0),
    ];
    let small = (0..28).flat_map(|_| one[..8].to_vec()).collect::<Vec<_>>();
    let hyper = if std::env::var("GROUPS").is_ok() { uni(&small) } else { uni(&one) };
    #[allow(dead_code)]
    struct V {
        name: String,
        pipe: wgpu::ComputePipeline,
        groups: Vec<wgpu::BindGroup>,
        wg: u32,
        frame: wgpu::Buffer,
        times: Vec<f64>,
    }
    let mut vs: Vec<V> = a[2..]
        .iter()
        .map(|file| {
            let src = std::fs::read_to_string(file).unwrap();
            let opt = |k: &str, d: u64| {
                src.lines().find_map(|l| l.strip_prefix(&format!("// {k}: "))).map_or(d, |s| s.trim().parse().unwrap())
            };
            let (wgs, quads) = (opt("wg", 256), opt("quads", 1));
            let tiled = opt("tiled", 0);
            let groups_n = (n / 4).div_ceil(wgs * quads) as u32;
            let frame = uni(&[0, 0, 0, if tiled > 0 { n as u32 / 256 } else { n as u32 }, 0, n as u32, groups_n, 0, 0]);
            let module =
                wgpu::naga::front::wgsl::parse_str(&src).unwrap_or_else(|e| panic!("{}", e.emit_to_string(&src)));
            let sm = device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: None,
                source: wgpu::ShaderSource::Wgsl(src.as_str().into()),
            });
            let pipe = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: None,
                layout: None,
                module: &sm,
                entry_point: None,
                compilation_options: Default::default(),
                cache: None,
            });
            let mut by: std::collections::BTreeMap<u32, Vec<(u32, wgpu::Buffer)>> = Default::default();
            for (_, g) in module.global_variables.iter() {
                let Some(b) = &g.binding else { continue };
                let buf = match g.name.as_deref().unwrap() {
                    "param" => &param,
                    "grad" => &grad,
                    "moments" => &moments,
                    "exp_avg" => &m1,
                    "exp_avg_sq" => &v1,
                    "tiles" => &tiles,
                    "frame" => &frame,
                    "hypers" | "hyper" => &hyper,
                    o => panic!("{o}"),
                };
                by.entry(b.group).or_default().push((b.binding, buf.clone()));
            }
            let groups = by
                .iter()
                .map(|(g, e)| {
                    device.create_bind_group(&wgpu::BindGroupDescriptor {
                        label: None,
                        layout: &pipe.get_bind_group_layout(*g),
                        entries: &e
                            .iter()
                            .map(|(b, buf)| wgpu::BindGroupEntry { binding: *b, resource: buf.as_entire_binding() })
                            .collect::<Vec<_>>(),
                    })
                })
                .collect();
            V {
                name: std::path::Path::new(file).file_stem().unwrap().to_string_lossy().into(),
                pipe,
                groups,
                wg: groups_n,
                frame,
                times: vec![],
            }
        })
        .collect();
    for r in 0..rounds + 3 {
        for v in &mut vs {
            let mut e = device.create_command_encoder(&Default::default());
            {
                let mut p = e.begin_compute_pass(&Default::default());
                p.set_pipeline(&v.pipe);
                for (i, g) in v.groups.iter().enumerate() {
                    p.set_bind_group(i as u32, g, &[]);
                }
                p.dispatch_workgroups(v.wg, 1, 1);
            }
            let t = Instant::now();
            let s = queue.submit([e.finish()]);
            device.poll(wgpu::PollType::Wait { submission_index: Some(s), timeout: None }).unwrap();
            if r >= 3 {
                v.times.push(t.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    let med = |mut t: Vec<f64>| {
        t.sort_by(f64::total_cmp);
        (t[t.len() / 2], t[0])
    };
    let first = vs[0].times.clone();
    for v in &vs {
        let _ = &v.frame;
        let (m, l) = med(v.times.clone());
        let (r, _) = med(v.times.iter().zip(&first).map(|(a, b)| a / b).collect());
        println!("{:24} median {m:7.2} least {l:7.2} ratio {r:.3} least/least {:.3}", v.name, l / med(first.clone()).1);
    }
}
