//! Checks that the host's time for each verb grows with the number of tensors, not with its square. Runs on the noop
//! device, where nothing else costs time. Takes the minimum of several rounds, because a busy machine only makes rounds
//! longer.

use std::time::{Duration, Instant};

use pollster::block_on;
use wgpu_adam::{
    AdamConfig, Checkpoint, CheckpointContents, GradientControl, Moments, Param, ParamGroup, ParamId, TensorArena,
    WgpuAdam, ZeroGrad, wgpu,
};

const FEW: usize = 8_000;
const MANY: usize = 32_000;
/// On a quiet machine four times as many tensors take four to five times as long, because of caches. Quadratic cost
/// would be 16 times.
const MOST: f64 = 8.0;
const ROUNDS: usize = 9;

struct Model {
    device: wgpu::Device,
    queue: wgpu::Queue,
    params: Vec<Param>,
}

impl Model {
    fn new(tensors: usize, own_buffers: bool) -> Self {
        let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
        let name = |number: usize| format!("layer{number}.weight");
        let params = if own_buffers {
            let buffer = || {
                device.create_buffer(&wgpu::BufferDescriptor {
                    label: None,
                    size: 32,
                    usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
                    mapped_at_creation: false,
                })
            };
            (0..tensors).map(|number| Param::new(name(number), [8], &buffer(), &buffer())).collect()
        } else {
            TensorArena::new(&device, (0..tensors).map(|number| (name(number), [8]))).unwrap().params()
        };
        Self { device, queue, params }
    }

    fn adam(&self) -> WgpuAdam {
        WgpuAdam::new(&self.device, &self.queue, self.params.clone(), AdamConfig::default()).unwrap()
    }

    fn stepped(&self) -> WgpuAdam {
        let mut adam = self.adam();
        adam.step().unwrap();
        adam
    }

    fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }
}

fn ids(adam: &WgpuAdam) -> Vec<ParamId> {
    adam.param_groups().iter().flat_map(|group| group.params().to_vec()).collect()
}

fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let begin = Instant::now();
    let made = work();
    let time = begin.elapsed();
    drop(made);
    time
}

/// A verb, called once for all tensors or once for each. Its preparation is not measured.
type Verb = (&'static str, fn(&Model) -> Duration);

const VERBS: [Verb; 21] = [
    ("new", |m| timed(|| m.adam())),
    ("the first record_step", |m| {
        let (mut adam, mut encoder) = (m.adam(), m.encoder());
        timed(|| adam.record_step(&mut encoder).unwrap())
    }),
    ("record_zero_grad", |m| {
        let (mut adam, mut encoder) = (m.adam(), m.encoder());
        timed(|| adam.record_zero_grad(&mut encoder, ZeroGrad::Fill).unwrap())
    }),
    ("set_gradient_control", |m| {
        let mut adam = m.adam();
        timed(|| adam.set_gradient_control(GradientControl { max_norm: Some(1.0), ..Default::default() }).unwrap())
    }),
    ("state_dict, the call", |m| {
        let adam = m.stepped();
        timed(|| adam.state_dict())
    }),
    ("state_dict", |m| {
        let adam = m.stepped();
        timed(|| block_on(adam.state_dict()).unwrap())
    }),
    ("Display of a state dict", |m| {
        let dict = block_on(m.stepped().state_dict()).unwrap();
        timed(|| dict.to_string())
    }),
    ("load_state_dict", |m| {
        let mut adam = m.stepped();
        let dict = block_on(adam.state_dict()).unwrap();
        timed(|| block_on(adam.load_state_dict(&dict)).unwrap())
    }),
    ("checkpoint_bytes", |m| {
        let adam = m.stepped();
        timed(|| block_on(adam.checkpoint_bytes(&CheckpointContents::new())).unwrap())
    }),
    ("load_from", |m| {
        let mut adam = m.stepped();
        let bytes = block_on(adam.checkpoint_bytes(&CheckpointContents::new())).unwrap();
        timed(|| {
            let checkpoint = Checkpoint::from_bytes(bytes).unwrap();
            block_on(adam.load_from(&checkpoint)).unwrap();
        })
    }),
    ("find, each", |m| {
        let adam = m.adam();
        timed(|| m.params.iter().for_each(|param| assert!(adam.find(param.name().unwrap()).is_some())))
    }),
    ("state, each", |m| {
        let adam = m.stepped();
        let ids = ids(&adam);
        timed(|| ids.iter().for_each(|id| assert_eq!(adam.state(*id).unwrap().pieces.len(), 1)))
    }),
    ("set_grad_to_none and set_grad, each", |m| {
        let mut adam = m.stepped();
        let ids = ids(&adam);
        timed(|| {
            for (id, param) in ids.iter().zip(&m.params) {
                adam.set_grad_to_none(*id).unwrap();
                adam.set_grad(*id, param.grad_buffer().unwrap().clone()).unwrap();
            }
        })
    }),
    ("record_reset_state, each", |m| {
        let (mut adam, mut encoder) = (m.stepped(), m.encoder());
        let ids = ids(&adam);
        timed(|| ids.iter().for_each(|id| adam.record_reset_state(&mut encoder, *id).unwrap()))
    }),
    ("record_replace_params", |m| {
        let (mut adam, mut encoder) = (m.stepped(), m.encoder());
        let new: Vec<_> =
            ids(&adam).into_iter().zip(m.params.clone()).map(|(id, param)| (id, param, Moments::Keep)).collect();
        timed(|| adam.record_replace_params(&mut encoder, new).unwrap())
    }),
    ("remove_param, each from the first", |m| {
        let mut adam = m.stepped();
        let ids = ids(&adam);
        timed(|| ids.iter().for_each(|id| adam.remove_param(*id).unwrap()))
    }),
    ("remove_param, each from the last", |m| {
        let mut adam = m.stepped();
        let ids = ids(&adam);
        timed(|| ids.iter().rev().for_each(|id| adam.remove_param(*id).unwrap()))
    }),
    ("add_param_group, each", |m| {
        let mut adam = empty(m);
        timed(|| {
            for param in m.params.clone() {
                adam.add_param_group(ParamGroup::new([param])).unwrap();
            }
            adam.record_step(&mut m.encoder()).unwrap();
        })
    }),
    ("add_param, each", |m| {
        let mut adam = empty(m);
        timed(|| {
            for param in m.params.clone() {
                adam.add_param(0, param).unwrap();
            }
            adam.record_step(&mut m.encoder()).unwrap();
        })
    }),
    ("add_param, each behind a step", |m| {
        let mut adam = WgpuAdam::new(&m.device, &m.queue, [m.params[0].clone()], AdamConfig::default()).unwrap();
        adam.step().unwrap();
        timed(|| {
            for param in m.params.iter().skip(1).cloned() {
                adam.add_param(0, param).unwrap();
            }
            adam.record_step(&mut m.encoder()).unwrap();
        })
    }),
    ("record_defragment", |m| {
        let (first, rest) = m.params.split_at(m.params.len() / 2);
        let mut adam = WgpuAdam::new(&m.device, &m.queue, first.to_vec(), AdamConfig::default()).unwrap();
        adam.step().unwrap();
        adam.add_param_group(ParamGroup::new(rest.to_vec())).unwrap();
        adam.step().unwrap();
        timed(|| adam.record_defragment(&mut m.encoder()).unwrap())
    }),
];

fn empty(model: &Model) -> WgpuAdam {
    WgpuAdam::new(&model.device, &model.queue, [] as [Param; 0], AdamConfig::default()).unwrap()
}

#[test]
fn verbs_cost_what_the_tensors_are() {
    let mut slow = Vec::new();
    for own_buffers in [false, true] {
        let (few, many) = (Model::new(FEW, own_buffers), Model::new(MANY, own_buffers));
        let kind = if own_buffers { "own buffers" } else { "arena" };
        for (name, verb) in VERBS {
            let mut least = [Duration::MAX; 2];
            let mut ratio = f64::INFINITY;
            for _ in 0..ROUNDS {
                for (least, model) in least.iter_mut().zip([&few, &many]) {
                    *least = (*least).min(verb(model));
                }
                ratio = least[1].as_secs_f64() / least[0].as_secs_f64().max(1e-4);
                if ratio <= MOST {
                    break;
                }
            }
            let [few, many] = least.map(|time| time.as_secs_f64() * 1e3);
            println!("{kind:<12} {name:<38} {few:8.2} ms for {FEW}, {many:8.2} ms for {MANY}: {ratio:4.1} times");
            if ratio > MOST {
                slow.push(format!("{kind}, {name}: {ratio:.1} times"));
            }
        }
    }
    assert!(slow.is_empty(), "more than {MOST} times as long for 4 times as many tensors:\n  {}", slow.join("\n  "));
}

/// Groups that were added one by one share one dispatch.
#[test]
fn a_thousand_groups_are_one_dispatch() {
    let model = Model::new(1000, false);
    let mut adam = empty(&model);
    let time = timed(|| {
        for param in model.params.clone() {
            adam.add_param_group(ParamGroup::new([param])).unwrap();
        }
        adam.record_step(&mut model.encoder()).unwrap();
    });
    println!("1,000 groups added one by one, and a step: {:.1} ms", time.as_secs_f64() * 1e3);
    assert_eq!(adam.dispatch_count(), 1);
}
