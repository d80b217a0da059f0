//! A device that is lost at any point of a step, on the noop device and on every adapter. Expected are errors or
//! harmless success, and no panic, no endless wait and no error for the application's handler.
//!
//! The suite's bodies visit the same points. Here each point is visited twice, in a separate thread: with a handler
//! that collects errors, and with wgpu's default handler, which panics.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pollster::block_on;
use wgpu_adam::{Error, WgpuAdam, wgpu};
use wgpu_adam_suite::adapter::{adapters, describe};
use wgpu_adam_suite::lost_device::{Point, points};

/// Where devices come from; `None` is noop.
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

/// The result of a point, in a separate thread, because it may panic or never end.
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
        let result = block_on(run(&device, &queue));
        // Frees what is no longer used, and runs callbacks.
        device.poll(wgpu::PollType::Poll).unwrap();
        assert_eq!(*errors.lock().unwrap(), Vec::<String>::new(), "the application's handler");
        sender.send(result).unwrap();
    });
    match receiver.recv_timeout(Duration::from_secs(10)) {
        Ok(result) => {
            // SwiftShader sometimes crashes if one device is created while another is being destroyed.
            drop(thread.join());
            Ok(result)
        }
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
        for point in points() {
            for handler in [true, false] {
                let came = came(&source, point, handler);
                if !came.as_ref().is_ok_and(|result| point.expect.is_met_by(result)) {
                    failures.push(format!("{name}, {}, handler {handler}: {came:?}", point.name));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} of them:\n{}", failures.len(), failures.join("\n"));
}
