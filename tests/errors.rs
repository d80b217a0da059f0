//! Mistakes on the noop device: each gives its error, changes nothing, and the optimizer goes on. No mistake reaches
//! wgpu: the device's uncaptured-error handler of the test stays silent.

use std::sync::{Arc, Mutex};

use wgpu::BufferUsages as Usage;
use wgpu_adam::{AdamConfig, Error, Param, ParamGroup, TensorArena, WgpuAdam, ZeroGrad, wgpu};

struct Bench {
    device: wgpu::Device,
    queue: wgpu::Queue,
    errors: Arc<Mutex<Vec<String>>>,
}

impl Bench {
    fn new(required_limits: wgpu::Limits) -> Self {
        let descriptor = wgpu::DeviceDescriptor { required_limits, ..Default::default() };
        let (device, queue) = wgpu::Device::noop(&descriptor);
        let errors = Arc::new(Mutex::new(Vec::new()));
        let seen = errors.clone();
        device.on_uncaptured_error(Arc::new(move |error| seen.lock().unwrap().push(error.to_string())));
        Self { device, queue, errors }
    }

    fn buffer(&self, size: u64) -> wgpu::Buffer {
        self.buffer_for(size, Usage::STORAGE | Usage::COPY_DST)
    }

    fn buffer_for(&self, size: u64, usage: Usage) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    }

    fn param(&self, name: &str, length: usize) -> Param {
        let size = length as u64 * 4;
        Param::new(name, [length], &self.buffer(size), &self.buffer(size))
    }

    fn adam(&self) -> WgpuAdam {
        let groups = [ParamGroup::new([self.param("a", 10)]), ParamGroup::new([self.param("b", 20)]).lr(0.1)];
        WgpuAdam::new(&self.device, &self.queue, groups, AdamConfig::default()).unwrap()
    }

    fn new_adam(&self, params: Vec<Param>) -> Result<WgpuAdam, Error> {
        WgpuAdam::new(&self.device, &self.queue, params, AdamConfig::default())
    }

    fn finish(&self) {
        assert_eq!(*self.errors.lock().unwrap(), Vec::<String>::new(), "wgpu saw mistakes");
    }
}

/// A way to make an optimizer that must fail, and a part of its error's text.
type Construction = (&'static str, fn(&Bench) -> Result<WgpuAdam, Error>, &'static str);

#[test]
fn constructors_refuse() {
    let bench = Bench::new(wgpu::Limits::default());
    let cases: [Construction; 16] = [
        ("no parameters", |b| b.new_adam(vec![]), "empty parameter list"),
        (
            "no groups",
            |b| WgpuAdam::new(&b.device, &b.queue, Vec::<ParamGroup>::new(), AdamConfig::default()),
            "empty parameter list",
        ),
        (
            "negative lr",
            |b| WgpuAdam::new(&b.device, &b.queue, [b.param("a", 1)], AdamConfig { lr: -1.0, ..Default::default() }),
            "invalid lr: -1; it must be finite",
        ),
        (
            "NaN in a group",
            |b| {
                let group = ParamGroup::new([b.param("a", 1)]).betas((0.9, f64::NAN));
                WgpuAdam::new(&b.device, &b.queue, group, AdamConfig::default())
            },
            "invalid beta2 of group 0: NaN",
        ),
        ("a name twice", |b| b.new_adam(vec![b.param("a", 1), b.param("a", 1)]), "two parameters are called \"a\""),
        (
            "names for some",
            |b| b.new_adam(vec![b.param("a", 1), b.param("b", 1).unnamed()]),
            "parameter \"a\" has a name and parameter 1 has none",
        ),
        (
            "a parameter twice",
            |b| {
                let param = b.param("a", 10).unnamed();
                b.new_adam(vec![param.clone(), param])
            },
            "parameter 0 and parameter 1 overlap in one buffer, by 40 bytes from byte 0",
        ),
        (
            "a parameter in two groups",
            |b| {
                let param = b.param("a", 10).unnamed();
                let groups = [ParamGroup::new([param.clone()]), ParamGroup::new([param])];
                WgpuAdam::new(&b.device, &b.queue, groups, AdamConfig::default())
            },
            "parameter 0 and parameter 1 overlap",
        ),
        (
            "ranges that overlap",
            |b| {
                let (params, grads) = (b.buffer(400), b.buffer(400));
                let param = |name, offset| Param::new(name, [50], (&params, offset), &grads);
                b.new_adam(vec![param("late", 200), param("early", 8)])
            },
            "parameter \"early\" and parameter \"late\" overlap in one buffer, by 8 bytes from byte 200",
        ),
        (
            "a gradient on a parameter",
            |b| {
                let buffer = b.buffer(400);
                b.new_adam(vec![Param::new("a", [50], &buffer, (&buffer, 196))])
            },
            "parameter \"a\" and gradient of \"a\" overlap in one buffer, by 4 bytes from byte 196",
        ),
        (
            "a parameter buffer too small",
            |b| b.new_adam(vec![Param::new("a", [11], (&b.buffer(44), 4), &b.buffer(44))]),
            "parameter \"a\" has 11 f32 elements from byte 4 and needs 48 bytes, but its buffer has 44",
        ),
        (
            "a gradient buffer too small",
            |b| b.new_adam(vec![Param::new("a", [11], &b.buffer(44), &b.buffer(40))]),
            "gradient of \"a\" has 11 f32 elements from byte 0 and needs 44 bytes, but its buffer has 40",
        ),
        (
            "the wrong usage",
            |b| b.new_adam(vec![Param::new("a", [1], &b.buffer_for(4, Usage::COPY_DST), &b.buffer(4))]),
            "the buffer of parameter \"a\" lacks the usage BufferUsages(STORAGE)",
        ),
        (
            "an offset that is no multiple of 4",
            |b| b.new_adam(vec![Param::new("a", [1], (&b.buffer(40), 6), &b.buffer(4))]),
            "parameter \"a\" begins at byte 6 of its buffer; the offset must be a multiple of 4",
        ),
        (
            "an offset past everything",
            |b| b.new_adam(vec![Param::new("a", [1], (&b.buffer(40), u64::MAX - 3), &b.buffer(4))]),
            "needs 18446744073709551615 bytes",
        ),
        (
            "a shape past everything",
            |b| b.new_adam(vec![Param::new("a", [usize::MAX, 3], &b.buffer(40), &b.buffer(4))]),
            "too large",
        ),
    ];
    for (case, make, text) in cases {
        let error = make(&bench).err().unwrap_or_else(|| panic!("{case}: accepted"));
        assert!(error.to_string().contains(text), "{case}: {error}");
    }
    bench.finish();
}

/// What a running optimizer refuses, and a part of the error's text.
type Change = (&'static str, fn(&Bench, &mut WgpuAdam) -> Result<(), Error>, &'static str);

#[test]
fn a_running_optimizer_refuses_and_goes_on() {
    let bench = Bench::new(wgpu::Limits::default());
    let cases: [Change; 16] = [
        ("lr", |_, adam| adam.set_lr(0, f64::NAN), "invalid lr of group 0: NaN"),
        ("lr beyond f32", |_, adam| adam.set_lr(1, 1e39), "invalid lr of group 1"),
        ("betas", |_, adam| adam.set_betas(0, (1.0, 0.9)), "invalid beta1 of group 0: 1"),
        ("beta2 that rounds to 1", |_, adam| adam.set_betas(0, (0.9, 0.999_999_999)), "invalid beta2"),
        ("eps", |_, adam| adam.set_eps(0, -1e-8), "invalid eps"),
        ("weight_decay", |_, adam| adam.set_weight_decay(0, f64::INFINITY), "invalid weight_decay"),
        ("no such group", |_, adam| adam.set_lr(2, 0.1), "no parameter group 2: there are 2, numbered from 0"),
        ("no such group", |_, adam| adam.set_amsgrad(9, true), "no parameter group 9"),
        (
            "amsgrad after steps",
            |_, adam| adam.set_amsgrad(1, true),
            "amsgrad cannot be switched on in group 1: parameter \"b\" has taken 1 steps",
        ),
        (
            "an added group's options",
            |b, adam| adam.add_param_group(ParamGroup::new([b.param("c", 1)]).eps(f64::NAN)).map(drop),
            "invalid eps of group 2: NaN",
        ),
        (
            "an added name",
            |b, adam| adam.add_param_group(ParamGroup::new([b.param("b", 1)])).map(drop),
            "two parameters are called \"b\"",
        ),
        (
            "an added parameter among good ones",
            |b, adam| {
                let bad = Param::new("bad", [2], &b.buffer(4), &b.buffer(8));
                adam.add_param_group(ParamGroup::new([b.param("c", 1), bad])).map(drop)
            },
            "parameter \"bad\" has 2 f32 elements",
        ),
        (
            "a gradient too small",
            |b, adam| adam.set_grad(adam.find("a").unwrap(), &b.buffer(36)),
            "gradient of \"a\" has 10 f32 elements from byte 0 and needs 40 bytes, but its buffer has 36",
        ),
        (
            "a gradient of the wrong usage",
            |b, adam| adam.set_grad(adam.find("a").unwrap(), &b.buffer_for(40, Usage::UNIFORM)),
            "lacks the usage BufferUsages(STORAGE)",
        ),
        (
            "another optimizer's id",
            |b, adam| adam.set_grad_to_none(b.adam().find("a").unwrap()),
            "belongs to another optimizer",
        ),
        (
            "a fill without COPY_DST",
            |b, adam| {
                let id = adam.find("b").unwrap();
                let old = b.buffer_for(80, Usage::STORAGE);
                adam.set_grad(id, &old)?;
                let mut encoder = b.device.create_command_encoder(&Default::default());
                let result = adam.record_zero_grad(&mut encoder, ZeroGrad::Fill);
                adam.set_grad(id, &b.buffer(80))?;
                result
            },
            "the buffer of gradient of \"b\" lacks the usage BufferUsages(COPY_DST)",
        ),
    ];
    for (case, change, text) in cases {
        let mut adam = bench.adam();
        adam.step().unwrap();
        let (groups, ids) = (adam.param_groups().to_vec(), ["a", "b"].map(|name| adam.find(name).unwrap()));
        let states = ids.map(|id| adam.state(id).unwrap());
        let error = change(&bench, &mut adam).err().unwrap_or_else(|| panic!("{case}: accepted"));
        assert!(error.to_string().contains(text), "{case}: {error}");
        assert_eq!(adam.param_groups(), groups, "{case}: the groups have changed");
        assert_eq!(ids.map(|id| adam.state(id).unwrap()), states, "{case}: the state has changed");
        adam.step().unwrap();
        adam.add_param_group(ParamGroup::new([bench.param("good", 5)])).unwrap();
        adam.step().unwrap();
        let steps = ["a", "b", "good"].map(|name| adam.step_count(adam.find(name).unwrap()).unwrap());
        assert_eq!(steps, [3, 3, 1], "{case}: steps after the error");
    }
    bench.finish();
}

#[test]
fn arenas_refuse() {
    let bench = Bench::new(wgpu::Limits { max_buffer_size: 1 << 20, ..wgpu::Limits::downlevel_defaults() });
    let arena = |tensors: &[(&'static str, Vec<usize>)]| TensorArena::new(&bench.device, tensors.to_vec());
    let too_large = arena(&[("a", vec![1 << 19])]).unwrap_err().to_string();
    assert!(
        too_large.contains("the arena needs max_buffer_size >= 2097152, but the device allows 1048576"),
        "{too_large}"
    );
    let twice = arena(&[("a", vec![1]), ("a", vec![2])]).unwrap_err().to_string();
    assert!(twice.contains("two parameters are called \"a\""), "{twice}");
    let endless = arena(&[("a", vec![usize::MAX, 9])]).unwrap_err().to_string();
    assert!(endless.contains("too large"), "{endless}");
    let small = arena(&[("a", vec![3])]).unwrap();
    let length = small.write_param(&bench.queue, "a", &[0.0; 4]).unwrap_err().to_string();
    assert!(length.contains("parameter \"a\" has 3 elements, but 4 were given"), "{length}");
    let name = small.grad("b").unwrap_err().to_string();
    assert!(name.contains("no tensor \"b\""), "{name}");
    small.write_grad(&bench.queue, "a", &[0.0; 3]).unwrap();
    bench.finish();
}

#[test]
fn small_devices_are_refused_by_name() {
    let base = wgpu::Limits::downlevel_defaults;
    let cases = [
        ("max_storage_buffers_per_shader_stage", wgpu::Limits { max_storage_buffers_per_shader_stage: 3, ..base() }),
        ("max_uniform_buffer_binding_size", wgpu::Limits { max_uniform_buffer_binding_size: 1024, ..base() }),
        ("max_bind_groups", wgpu::Limits { max_bind_groups: 2, ..base() }),
        ("max_compute_invocations_per_workgroup", wgpu::Limits { max_compute_invocations_per_workgroup: 16, ..base() }),
    ];
    for (limit, limits) in cases {
        let bench = Bench::new(limits);
        let error = bench.new_adam(vec![bench.param("a", 1)]).err().unwrap_or_else(|| panic!("{limit}: accepted"));
        assert!(error.to_string().contains(&format!("wgpu_adam needs {limit} >=")), "{limit}: {error}");
        bench.finish();
    }
}

#[test]
fn empty_tensors_and_groups_are_legal() {
    let bench = Bench::new(wgpu::Limits::default());
    let groups = [ParamGroup::new([]), ParamGroup::new([bench.param("none", 0), bench.param("some", 3)])];
    let mut adam = WgpuAdam::new(&bench.device, &bench.queue, groups, AdamConfig::default()).unwrap();
    adam.step().unwrap();
    let steps = ["none", "some"].map(|name| adam.step_count(adam.find(name).unwrap()).unwrap());
    assert_eq!(steps, [1, 1]);
    let alone = ParamGroup::new([bench.param("nothing", 0)]);
    let mut adam = WgpuAdam::new(&bench.device, &bench.queue, alone, AdamConfig::default()).unwrap();
    adam.step().unwrap();
    assert_eq!(adam.step_count(adam.find("nothing").unwrap()).unwrap(), 1);
    bench.finish();
}
