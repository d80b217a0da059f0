//! Devices of all sizes, as noop devices, which validate everything and execute nothing. A model of awkward tensors is
//! stepped, changed and saved without any complaint from wgpu, or is refused by an error that names the limit.

use std::sync::{Arc, Mutex};

use pollster::block_on;
use wgpu::BufferUsages as Usage;
use wgpu_adam::{
    AdamConfig, Error, GradientControl, LossScale, Moments, Param, ParamGroup, TensorArena, WgpuAdam, ZeroGrad, wgpu,
};

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

    fn buffer(&self, elements: u64) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: elements * 4,
            usage: Usage::STORAGE | Usage::COPY_DST | Usage::COPY_SRC,
            mapped_at_creation: false,
        })
    }

    fn param(&self, name: &str, length: u64) -> Param {
        Param::new(name, [length as usize], &self.buffer(length), &self.buffer(length))
    }

    fn adam(&self, groups: Vec<ParamGroup>) -> Result<WgpuAdam, Error> {
        WgpuAdam::new(&self.device, &self.queue, groups, AdamConfig::default())
    }

    /// wgpu's messages so far.
    fn said(&self) -> Vec<String> {
        std::mem::take(&mut *self.errors.lock().unwrap())
    }

    /// A model of tensors in an arena, in separate buffers and in one shared buffer, through every operation.
    fn life(&self, control: GradientControl) -> Result<(), Error> {
        const IN_ARENA: [usize; 10] = [0, 1, 3, 63, 64, 65, 255, 257, 1023, 3001];
        let shapes = IN_ARENA.map(|length| (format!("arena {length}"), [length]));
        let arena = TensorArena::new(&self.device, shapes)?;
        let large = if self.device.limits().max_buffer_size > 1 << 20 { 65_537 } else { 4099 };
        let own = [1, 5, 1023, large].map(|length| self.param(&format!("own {length}"), length));
        // Parameters and gradients in one buffer, at odd offsets, as close together as the smallest binding requires.
        let pool = self.buffer(2000);
        let among = [(3, 61, 50), (120, 181, 60), (245, 250, 1), (999, 1058, 57), (1301, 1361, 30)].map(
            |(param, grad, length): (u64, u64, usize)| {
                Param::new(format!("among {param}"), [length], (&pool, param * 4), (&pool, grad * 4))
            },
        );
        let groups = vec![
            ParamGroup::new(arena.params()),
            ParamGroup::new(own).amsgrad(true),
            ParamGroup::new(among).decoupled_weight_decay(true).weight_decay(0.1),
        ];
        let mut adam = self.adam(groups)?;
        adam.set_gradient_control(control)?;
        let id = |adam: &WgpuAdam, name: &str| adam.find(name).unwrap();
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        adam.record_zero_grad(&mut encoder, ZeroGrad::Fill)?;
        for step in 0..20 {
            match step {
                5 => adam.set_grad_to_none(id(&adam, "arena 64"))?,
                6 => adam.set_grad(id(&adam, "among 120"), (&self.buffer(63), 12))?,
                7 => drop(adam.add_param_group(ParamGroup::new([self.param("late", 259)]).eps(0.0))?),
                8 => adam.set_amsgrad(3, false)?,
                9 => adam.set_eps(0, 0.0)?,
                10 => adam.remove_param(id(&adam, "arena 257"))?,
                11 => {
                    let (id, new) = (id(&adam, "own 1023"), self.param("own 700", 700));
                    adam.record_replace_param(&mut encoder, id, new, Moments::Keep)?;
                }
                12 => adam.record_reset_state(&mut encoder, id(&adam, "arena 3001"))?,
                _ => {}
            }
            adam.record_step(&mut encoder)?;
        }
        self.queue.submit([encoder.finish()]);
        let dict = block_on(adam.state_dict())?;
        block_on(adam.load_state_dict(&dict))?;
        adam.step()?;
        assert_eq!(adam.param(id(&adam, "arena 1"))?.step, 21);
        Ok(())
    }
}

/// The name of the limit in an error.
fn named(error: &Error) -> Option<&'static str> {
    match error {
        Error::DeviceLimit { limit, needed, allowed, .. } if needed > allowed && error.to_string().contains(limit) => {
            Some(limit)
        }
        _ => None,
    }
}

/// Every combination of limits in which devices differ.
fn combinations() -> Vec<wgpu::Limits> {
    let mut all = vec![wgpu::Limits { max_storage_buffers_per_shader_stage: 4, ..wgpu::Limits::downlevel_defaults() }];
    let mut each = |values: &[u64], set: fn(&mut wgpu::Limits, u64)| {
        let with = |limits: &wgpu::Limits| {
            let limits = limits.clone();
            values
                .iter()
                .map(move |value| {
                    let mut limits = limits.clone();
                    set(&mut limits, *value);
                    limits
                })
                .collect::<Vec<_>>()
        };
        all = all.iter().flat_map(with).collect();
    };
    each(&[1 << 10, 64 << 10, 128 << 20], |limits, bytes| limits.max_storage_buffer_binding_size = bytes);
    each(&[1, 7, 65_535], |limits, count| limits.max_compute_workgroups_per_dimension = count as u32);
    each(&[32, 64, 256], |limits, invocations| {
        limits.max_compute_invocations_per_workgroup = invocations as u32;
        limits.max_compute_workgroup_size_x = invocations as u32;
    });
    each(&[256, 512], |limits, alignment| {
        limits.min_storage_buffer_offset_alignment = alignment as u32;
        limits.min_uniform_buffer_offset_alignment = alignment as u32;
    });
    each(&[32 << 10, 100_001, 256 << 20], |limits, bytes| limits.max_buffer_size = bytes);
    all
}

#[test]
fn every_combination_works_or_names_the_limit() {
    let (mut works, mut refused) = (0, 0);
    for limits in combinations() {
        let bench = Bench::new(limits.clone());
        let granted = bench.device.limits();
        assert_eq!(granted.min_storage_buffer_offset_alignment, limits.min_storage_buffer_offset_alignment);
        match bench.life(GradientControl::default()) {
            Ok(()) => works += 1,
            // These devices have smaller buffers than a plan of many dispatches needs.
            Err(error) if limits.max_buffer_size < 256 << 20 => {
                assert_eq!(named(&error), Some("max_buffer_size"), "{limits:?}: {error}");
                refused += 1;
            }
            Err(error) => panic!("{limits:?}: {error}"),
        }
        assert_eq!(bench.said(), Vec::<String>::new(), "{limits:?}");
    }
    // The refused devices have bindings of 1 KiB, and so a dispatch for every 128 elements, or one workgroup per
    // dispatch.
    assert_eq!((works, refused), (151, 11));
}

/// Under gradient control too, on devices that have room for its buffers.
#[test]
fn every_combination_works_under_control_or_names_the_limit() {
    let control = GradientControl { max_norm: Some(1.0), loss_scale: LossScale::dynamic(), ..Default::default() };
    let (mut works, mut all) = (0, 0);
    for limits in combinations() {
        let bench = Bench::new(limits.clone());
        all += 1;
        match bench.life(control) {
            Ok(()) => works += 1,
            Err(error) => match named(&error) {
                Some("max_buffer_size") if limits.max_buffer_size < 256 << 20 => {}
                Some("max_storage_buffer_binding_size") if limits.max_storage_buffer_binding_size < 128 << 20 => {}
                _ => panic!("{limits:?}: {error}"),
            },
        }
        assert_eq!(bench.said(), Vec::<String>::new(), "{limits:?}");
    }
    // The ledger is bound as a whole. Of the 162 devices, those with bindings of 1 KiB have no room for it, and neither
    // have some with buffers of 32 KiB.
    assert!(all == 162 && works >= 70, "{works} of {all}");
}

/// A limit, the smallest value that suffices, and its setter.
type Least = (&'static str, u64, fn(&mut wgpu::Limits, u64));

const LEAST: [Least; 12] = [
    ("max_bind_groups", 3, |limits, value| limits.max_bind_groups = value as u32),
    ("max_bindings_per_bind_group", 3, |limits, value| limits.max_bindings_per_bind_group = value as u32),
    ("max_dynamic_uniform_buffers_per_pipeline_layout", 2, |limits, value| {
        limits.max_dynamic_uniform_buffers_per_pipeline_layout = value as u32;
    }),
    ("max_dynamic_storage_buffers_per_pipeline_layout", 1, |limits, value| {
        limits.max_dynamic_storage_buffers_per_pipeline_layout = value as u32;
    }),
    ("max_storage_buffers_per_shader_stage", 4, |limits, value| {
        limits.max_storage_buffers_per_shader_stage = value as u32;
    }),
    ("max_uniform_buffers_per_shader_stage", 2, |limits, value| {
        limits.max_uniform_buffers_per_shader_stage = value as u32;
    }),
    ("max_uniform_buffer_binding_size", 16 << 10, |limits, value| limits.max_uniform_buffer_binding_size = value),
    ("max_storage_buffer_binding_size", 1 << 10, |limits, value| limits.max_storage_buffer_binding_size = value),
    ("max_buffer_size", 32 << 10, |limits, value| limits.max_buffer_size = value),
    ("max_compute_invocations_per_workgroup", 32, |limits, value| {
        limits.max_compute_invocations_per_workgroup = value as u32;
    }),
    ("max_compute_workgroup_size_x", 32, |limits, value| limits.max_compute_workgroup_size_x = value as u32),
    ("max_compute_workgroups_per_dimension", 1, |limits, value| {
        limits.max_compute_workgroups_per_dimension = value as u32;
    }),
];

#[test]
fn each_limit_has_a_least_value() {
    let least = || {
        let mut limits = wgpu::Limits::downlevel_defaults();
        LEAST.iter().for_each(|(_, value, set)| set(&mut limits, *value));
        limits
    };
    let few = |bench: &Bench| {
        let mut adam = bench.adam(vec![ParamGroup::new([bench.param("a", 300), bench.param("b", 3)])])?;
        (0..3).try_for_each(|_| adam.step().map(drop))
    };
    let bench = Bench::new(least());
    few(&bench).unwrap();
    assert_eq!(bench.said(), Vec::<String>::new(), "the least of all limits");
    for (name, value, set) in LEAST {
        let mut limits = least();
        set(&mut limits, value - 1);
        let bench = Bench::new(limits);
        let error = few(&bench).err().unwrap_or_else(|| panic!("{name} of {}: accepted", value - 1));
        assert_eq!(named(&error), Some(name), "{error}");
        assert_eq!(bench.said(), Vec::<String>::new(), "{name}");
        // Odd values above the minimum suffice as well.
        let mut limits = least();
        set(&mut limits, value + 1);
        let bench = Bench::new(limits);
        few(&bench).unwrap_or_else(|error| panic!("{name} of {}: {error}", value + 1));
        assert_eq!(bench.said(), Vec::<String>::new(), "{name}");
    }
}

/// Limits that only gradient control needs are checked when it is set.
#[test]
fn control_has_a_least_value_of_its_own() {
    let control = GradientControl { max_norm: Some(1.0), ..Default::default() };
    for (size, does) in [(5151, false), (5152, true)] {
        let limits = wgpu::Limits { max_compute_workgroup_storage_size: size, ..wgpu::Limits::downlevel_defaults() };
        let bench = Bench::new(limits);
        let mut adam = bench.adam(vec![ParamGroup::new([bench.param("a", 300)])]).unwrap();
        let set = adam.set_gradient_control(control);
        let named = set.as_ref().err().map(|error| named(error).unwrap_or_else(|| panic!("{error}")));
        assert_eq!(named, (!does).then_some("max_compute_workgroup_storage_size"), "{size}");
        assert_eq!(*adam.gradient_control() == control, does, "{size}");
        adam.step().unwrap();
        assert_eq!(bench.said(), Vec::<String>::new(), "{size}");
    }
}

/// Buffers that grow with the model reach a limit: the error names it, and the optimizer keeps working.
#[test]
fn growing_past_a_limit_names_it() {
    let buffers = |max_buffer_size| wgpu::Limits {
        max_buffer_size,
        max_storage_buffer_binding_size: 1 << 10,
        ..wgpu::Limits::downlevel_defaults()
    };
    let bench = Bench::new(buffers(32 << 10));
    let many = |from: u64, to: u64| (from..to).map(|number| ParamGroup::new([bench.param(&number.to_string(), 1)]));
    let refused = bench.adam(many(0, 600).collect()).expect_err("600 groups in 32 KiB");
    assert_eq!(named(&refused), Some("max_buffer_size"), "{refused}");

    let mut adam = bench.adam(many(0, 1).collect()).unwrap();
    let mut added = 1;
    let refused = loop {
        match many(added, added + 1).try_for_each(|group| adam.add_param_group(group).map(drop)) {
            Ok(()) if added > 10_000 => panic!("no end of groups"),
            Ok(()) => added += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(named(&refused), Some("max_buffer_size"), "{added} groups: {refused}");
    assert_eq!(adam.param_groups().len() as u64, added);
    adam.step().unwrap();

    let mut adam = bench.adam(many(0, 1).collect()).unwrap();
    let wide = bench.param("wide", 8 << 10);
    let (pool, id) = (bench.buffer(8 << 10), adam.find("0").unwrap());
    let wide = adam.add_param_group(ParamGroup::new([wide])).map(drop);
    assert!(wide.is_ok() || wide.is_err_and(|error| named(&error) == Some("max_buffer_size")));
    let far = Param::new("far", [100], &pool, (&pool, 4000));
    let far = adam.add_param_group(ParamGroup::new([far])).unwrap_err();
    assert!(matches!(&far, Error::GradientTooFar { allowed: 1024, .. }), "{far}");
    assert!(far.to_string().contains("max_storage_buffer_binding_size >= 4"), "{far}");
    adam.step().unwrap();
    assert_eq!(adam.param(id).unwrap().step, 1);
    let arena = TensorArena::new(&bench.device, [("a", [8193])]).unwrap_err();
    assert_eq!(named(&arena), Some("max_buffer_size"), "{arena}");

    // Slots for steps that are recorded and not submitted: more buffers, each within the limit.
    let mut encoder = bench.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    for _ in 0..1000 {
        adam.record_step(&mut encoder).unwrap();
    }
    bench.queue.submit([encoder.finish()]);
    assert_eq!(bench.said(), Vec::<String>::new());
}

/// Every tensor of an arena has a place of its own, one without elements too: what is bound of it is no other's.
#[test]
fn tensors_without_elements_have_places() {
    for alignment in [32, 256, 512] {
        let limits = wgpu::Limits {
            min_storage_buffer_offset_alignment: alignment,
            min_uniform_buffer_offset_alignment: alignment,
            ..wgpu::Limits::downlevel_defaults()
        };
        let bench = Bench::new(limits);
        for lengths in [&[0, 0, 0][..], &[3, 0, 64, 0, 0, 65], &[0, 1], &[128, 0], &[0, 0, 127, 0, 129, 1, 0]] {
            let names: Vec<String> = (0..lengths.len()).map(|number| number.to_string()).collect();
            let arena =
                TensorArena::new(&bench.device, names.iter().zip(lengths.iter().map(|&length| [length]))).unwrap();
            for of in [TensorArena::param, TensorArena::grad] {
                let mut end = 0;
                for (name, &length) in names.iter().zip(lengths) {
                    let bound = of(&arena, name).unwrap();
                    assert_eq!(bound.size.unwrap().get(), 4 * length.max(1) as u64, "{lengths:?}: {name}");
                    assert!(bound.offset.is_multiple_of(u64::from(alignment).max(256)), "{lengths:?}: {name}");
                    assert!(bound.offset >= end, "{lengths:?}: {name} begins within another");
                    end = bound.offset + bound.size.unwrap().get();
                    assert!(end <= bound.buffer.size(), "{lengths:?}: {name} ends past the buffer");
                }
            }
        }
        assert_eq!(bench.said(), Vec::<String>::new());
    }
}
