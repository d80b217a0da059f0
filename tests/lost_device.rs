//! A device lost at every point of a step's life, on the noop device and on every adapter: errors or harmless success, no
//! panic, no endless wait, nothing for the application's handler; and a run that goes on, on a new device.
//!
//! Each point is gone through twice: with a handler that collects, and with wgpu's default one, which panics.

#[path = "lost_device/changes.rs"]
mod changes;
#[path = "lost_device/running.rs"]
mod running;
#[path = "lost_device/steps.rs"]
mod steps;

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pollster::block_on;
use running::{Expect, Point};
use wgpu_adam::{AdamConfig, Error, TensorArena, WgpuAdam, wgpu};
use wgpu_adam_suite::Gpu;
use wgpu_adam_suite::adapter::{adapters, describe};
use wgpu_adam_suite::readback::read_tensor;
use wgpu_adam_suite::twin::same_bits;
use wgpu_adam_suite::values::values;

/// Where devices come from; none: noop.
type Source = Option<wgpu::Adapter>;

fn sources() -> Vec<(String, Source)> {
    let found = block_on(adapters());
    assert!(!found.is_empty(), "no adapter: install one, as the README says");
    let named = found.into_iter().map(|adapter| (describe(&adapter.get_info()), Some(adapter)));
    std::iter::once(("noop".to_owned(), None)).chain(named).collect()
}

fn open(source: &Source) -> (wgpu::Device, wgpu::Queue) {
    let descriptor = wgpu::DeviceDescriptor { required_limits: WgpuAdam::required_limits(), ..Default::default() };
    match source {
        Some(adapter) => block_on(adapter.request_device(&descriptor)).unwrap(),
        None => wgpu::Device::noop(&descriptor),
    }
}

/// What came of a point, in a thread of its own: it may panic, or never end.
fn came(source: &Source, point: &Point, handler: bool) -> Result<Result<(), Error>, String> {
    let (source, run) = (source.clone(), point.run);
    let (sender, receiver) = channel();
    let thread = std::thread::spawn(move || {
        let (device, queue) = open(&source);
        let errors = Arc::new(Mutex::new(Vec::new()));
        if handler {
            let seen = errors.clone();
            device.on_uncaptured_error(Arc::new(move |error| seen.lock().unwrap().push(error.to_string())));
        }
        let result = run(&device, &queue);
        // What was left behind is let go, and callbacks come.
        device.poll(wgpu::PollType::Poll).unwrap();
        assert_eq!(*errors.lock().unwrap(), Vec::<String>::new(), "the application's handler");
        sender.send(result).unwrap();
    });
    match receiver.recv_timeout(Duration::from_secs(10)) {
        Ok(result) => Ok(result),
        Err(RecvTimeoutError::Timeout) => Err("it does not end".into()),
        Err(RecvTimeoutError::Disconnected) => {
            let panic = thread.join().unwrap_err();
            let text = panic.downcast_ref::<String>().map(String::as_str);
            Err(format!("panic: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("?")))
        }
    }
}

#[test]
fn every_point_ends_in_an_error_or_harmlessly() {
    let mut failures = Vec::new();
    for (name, source) in sources() {
        for point in steps::POINTS.iter().chain(changes::POINTS) {
            for handler in [true, false] {
                let came = came(&source, point, handler);
                let as_expected = matches!(
                    (&came, point.expect),
                    (Ok(Ok(())), Expect::Fine | Expect::Either)
                        | (Ok(Err(Error::Device { .. })), Expect::Refused | Expect::Either)
                );
                if !as_expected {
                    failures.push(format!("{name}, {}, handler {handler}: {came:?}", point.name));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} of them:\n{}", failures.len(), failures.join("\n"));
}

const LENGTHS: [(&str, u64); 3] = [("a", 1000), ("b", 33), ("c", 7)];
const STEPS: u64 = 10;

/// Steps `from..to` of one run, on tensors of these values.
fn go_on(gpu: &Gpu, from: u64, to: u64, start: &Carried) -> (TensorArena, WgpuAdam) {
    let shapes = LENGTHS.map(|(name, length)| (name, [length as usize]));
    let arena = TensorArena::new(&gpu.device, shapes).unwrap();
    for ((name, _), values) in LENGTHS.iter().zip(&start.params) {
        arena.write_param(&gpu.queue, name, values).unwrap();
    }
    let config = AdamConfig { lr: 0.01, weight_decay: 0.1, amsgrad: true, ..Default::default() };
    let mut adam = WgpuAdam::new(&gpu.device, &gpu.queue, arena.params(), config).unwrap();
    if let Some(dict) = &start.dict {
        adam.load_state_dict(dict).unwrap();
    }
    for step in from..to {
        for (number, (name, length)) in (1..).zip(LENGTHS) {
            arena.write_grad(&gpu.queue, name, &values(100 * step + number, length)).unwrap();
        }
        adam.step().unwrap();
    }
    (arena, adam)
}

/// What an application keeps.
struct Carried {
    params: Vec<Vec<f32>>,
    dict: Option<wgpu_adam::StateDict>,
}

async fn carried(gpu: &Gpu, arena: &TensorArena, adam: &WgpuAdam) -> Carried {
    let mut params = Vec::new();
    for (name, length) in LENGTHS {
        params.push(read_tensor(gpu, &arena.param_buffer(name).unwrap(), length).await.unwrap());
    }
    Carried { params, dict: Some(adam.state_dict().await.unwrap()) }
}

#[test]
fn a_run_goes_on_on_a_new_device() {
    for adapter in block_on(adapters()) {
        block_on(async {
            let initial = Carried { params: LENGTHS.map(|(_, length)| values(length, length)).to_vec(), dict: None };
            let gpu = Gpu::default_limits(&adapter).await.unwrap();
            let (arena, adam) = go_on(&gpu, 0, STEPS, &initial);
            let want = carried(&gpu, &arena, &adam).await;

            let lost = Gpu::default_limits(&adapter).await.unwrap();
            let (arena, mut adam) = go_on(&lost, 0, STEPS / 2, &initial);
            let kept = carried(&lost, &arena, &adam).await;
            adam.step().unwrap();
            lost.device.destroy();
            // It may go on for a while without noticing.
            let _ = adam.step();
            assert!(matches!(adam.state_dict().await, Err(Error::Device { .. })), "{}", gpu.adapter_name);

            let new = Gpu::default_limits(&adapter).await.unwrap();
            let (arena, adam) = go_on(&new, STEPS / 2, STEPS, &kept);
            let got = carried(&new, &arena, &adam).await;
            for ((name, _), (got, want)) in LENGTHS.iter().zip(got.params.iter().zip(&want.params)) {
                same_bits(name, got, want).unwrap();
            }
            assert_eq!(got.dict, want.dict, "{}", gpu.adapter_name);
            for gpu in [gpu, lost, new] {
                gpu.check_errors().unwrap();
            }
        });
    }
}
