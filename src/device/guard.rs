//! Creation under error scopes: what only the device can detect is returned as an error of this crate.

use crate::error::Error;

/// Runs whatever creates, grows or maps inside Validation and OutOfMemory scopes.
///
/// Native: the scopes are read immediately. Without them the first write to a buffer created on a lost device would
/// reach the application's uncaptured-error handler, whose default panics. Browser: a scope's result is a promise,
/// which is kept for [`ready`](Self::ready).
#[derive(Clone)]
pub(crate) struct Guard {
    device: wgpu::Device,
    #[cfg(target_family = "wasm")]
    pending: std::rc::Rc<std::cell::RefCell<Promises>>,
}

/// The outcome of creating an object that several optimizers use. Its error is an error of each of them. Native: there
/// is no error, because an object that failed is never shared.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    #[cfg(target_family = "wasm")]
    error: futures_util::future::Shared<Promise>,
}

/// The promise of an error, or of none.
#[cfg(target_family = "wasm")]
type Promise = std::pin::Pin<Box<dyn Future<Output = Option<Error>>>>;

/// The promises that nobody has awaited yet.
#[cfg(target_family = "wasm")]
#[derive(Default)]
struct Promises {
    own: Vec<Promise>,
    /// The outcomes of objects that other optimizers may use too, each once.
    shared: Vec<Outcome>,
}

/// The scopes around a creation, in the order in which a panic must close them.
struct Scopes {
    validation: wgpu::ErrorScopeGuard,
    memory: wgpu::ErrorScopeGuard,
}

impl Scopes {
    fn open(device: &wgpu::Device) -> Self {
        let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        Self { validation: device.push_error_scope(wgpu::ErrorFilter::Validation), memory }
    }

    fn close(self) -> impl Future<Output = Option<wgpu::Error>> + use<> {
        let (validation, memory) = (self.validation.pop(), self.memory.pop());
        async move {
            // Memory comes first, because exhausted memory often shows as an invalid object too.
            let memory = memory.await;
            let validation = validation.await;
            memory.or(validation)
        }
    }
}

impl Guard {
    pub(crate) fn new(device: &wgpu::Device) -> Self {
        Self {
            device: device.clone(),
            #[cfg(target_family = "wasm")]
            pending: std::rc::Rc::default(),
        }
    }

    /// Runs `make` under error scopes. `what` names the object in the error.
    pub(crate) fn run<T>(&self, what: &str, make: impl FnOnce() -> T) -> Result<T, Error> {
        let scopes = Scopes::open(&self.device);
        let made = make();
        self.settle(what, scopes.close())?;
        Ok(made)
    }

    /// Creates an object that other optimizers may use too. Each of them must pass the outcome to [`join`](Self::join).
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn run_shared<T>(&self, what: &str, make: impl FnOnce() -> T) -> Result<(T, Outcome), Error> {
        Ok((self.run(what, make)?, Outcome {}))
    }

    /// Creates an object that other optimizers may use too. Each of them must pass the outcome to [`join`](Self::join).
    #[cfg(target_family = "wasm")]
    pub(crate) fn run_shared<T>(&self, what: &str, make: impl FnOnce() -> T) -> Result<(T, Outcome), Error> {
        let scopes = Scopes::open(&self.device);
        let made = make();
        let outcome = Outcome { error: futures_util::FutureExt::shared(promise(what, scopes.close())) };
        self.join(&outcome);
        Ok((made, outcome))
    }

    /// Makes the error of a shared object an error of this optimizer. Native: shared objects have no error.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn join(&self, _: &Outcome) {}

    /// Makes the error of a shared object an error of this optimizer. Browser: [`ready`](Self::ready) waits for it,
    /// unless the object is known to have none.
    #[cfg(target_family = "wasm")]
    pub(crate) fn join(&self, outcome: &Outcome) {
        let shared = &mut self.pending.borrow_mut().shared;
        let known = matches!(outcome.error.peek(), Some(None));
        if !known && !shared.iter().any(|other| other.error.ptr_eq(&outcome.error)) {
            shared.push(outcome.clone());
        }
    }

    /// Unmaps a buffer. Native: without scopes, an error on a lost device would reach the application's handler.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn unmap(&self, what: &str, buffer: &wgpu::Buffer) -> Result<(), Error> {
        self.run(what, || buffer.unmap())
    }

    /// Unmaps a buffer. Browser: this never fails, and every step does it, so no promise is kept.
    #[cfg(target_family = "wasm")]
    pub(crate) fn unmap(&self, _: &str, buffer: &wgpu::Buffer) -> Result<(), Error> {
        buffer.unmap();
        Ok(())
    }

    #[cfg(not(target_family = "wasm"))]
    fn settle(&self, what: &str, error: impl Future<Output = Option<wgpu::Error>>) -> Result<(), Error> {
        match now(error) {
            Some(wgpu::Error::OutOfMemory { .. }) => Err(Error::OutOfMemory { what: what.into() }),
            Some(error) => Err(self.refused(what, error)),
            None => Ok(()),
        }
    }

    /// Returns the error for a refusal by wgpu. On a lost device wgpu only reports that objects created there are
    /// invalid, which nobody would understand. So this first checks whether the device is lost.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn refused(&self, what: &str, message: impl ToString) -> Error {
        if self.is_lost() {
            return Error::DeviceLost { what: what.into() };
        }
        Error::Device { what: what.into(), message: message.to_string() }
    }

    /// Returns the error for a refusal by the browser. No error scope reports that a device is lost or out of memory.
    #[cfg(target_family = "wasm")]
    pub(crate) fn refused(&self, what: &str, message: impl ToString) -> Error {
        let message = format!("{}; the device may be lost or out of memory", message.to_string());
        Error::Device { what: what.into(), message }
    }

    /// Whether the device is lost, which it is if it cannot create even a small buffer. wgpu reports the loss to a
    /// single callback, and that one belongs to the application.
    #[cfg(not(target_family = "wasm"))]
    fn is_lost(&self) -> bool {
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let probe = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("wgpu_adam.probe"),
            size: 4,
            usage: wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: true,
        });
        // If the buffer was not created it is invalid, and unmapping it is an error.
        probe.unmap();
        let (validation, memory) = (now(validation.pop()), now(memory.pop()));
        validation.is_some() && memory.is_none()
    }

    #[cfg(target_family = "wasm")]
    fn settle(&self, what: &str, error: impl Future<Output = Option<wgpu::Error>> + 'static) -> Result<(), Error> {
        self.pending.borrow_mut().own.push(promise(what, error));
        Ok(())
    }

    /// Returns the first error of everything created since the last call. Native: all errors were returned already.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Waits for everything created since the last call, and returns its first error.
    #[cfg(target_family = "wasm")]
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        let Promises { own, shared } = self.pending.take();
        let mut first = None;
        for outcome in shared {
            first = first.or(outcome.error.await);
        }
        for error in own {
            first = first.or(error.await);
        }
        first.map_or(Ok(()), Err)
    }
}

impl Outcome {
    /// Whether the object is known to have failed and must be created again. Native: an object that failed is never
    /// shared.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn has_failed(&self) -> bool {
        false
    }

    /// Whether the object is known to have failed and must be created again.
    #[cfg(target_family = "wasm")]
    pub(crate) fn has_failed(&self) -> bool {
        matches!(self.error.peek(), Some(Some(_)))
    }
}

/// Whether two handles belong to one device.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn is_same_device(one: &wgpu::Device, other: &wgpu::Device) -> bool {
    // wgpu compares numbers, and every `wgpu::Instance` starts its numbers of devices at the same value.
    if one != other {
        return false;
    }
    // An error goes only to the innermost scope on the device on which it happens.
    let outer = one.push_error_scope(wgpu::ErrorFilter::Validation);
    let inner = other.push_error_scope(wgpu::ErrorFilter::Validation);
    drop(one.create_sampler(&wgpu::SamplerDescriptor { lod_min_clamp: -1.0, ..Default::default() }));
    let error = now(inner.pop());
    drop(outer);
    // A lost device reports no error, so it differs from every device, even from itself.
    error.is_some()
}

/// Whether two handles belong to one device. In a browser each device has a number of its own.
#[cfg(target_family = "wasm")]
pub(crate) fn is_same_device(one: &wgpu::Device, other: &wgpu::Device) -> bool {
    one == other
}

/// Returns what a scope has caught. Native wgpu knows it when the scope is popped, so one poll reads it.
#[cfg(not(target_family = "wasm"))]
fn now(error: impl Future<Output = Option<wgpu::Error>>) -> Option<wgpu::Error> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(error).poll(&mut context) {
        std::task::Poll::Ready(error) => error,
        std::task::Poll::Pending => None,
    }
}

#[cfg(target_family = "wasm")]
fn promise(what: &str, error: impl Future<Output = Option<wgpu::Error>> + 'static) -> Promise {
    let what = what.to_owned();
    Box::pin(async move { error.await.map(|error| translate(&what, &error)) })
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Guard").finish_non_exhaustive()
    }
}

#[cfg(target_family = "wasm")]
fn translate(what: &str, error: &wgpu::Error) -> Error {
    match error {
        wgpu::Error::OutOfMemory { .. } => Error::OutOfMemory { what: what.into() },
        other => Error::Device { what: what.into(), message: other.to_string() },
    }
}

#[cfg(all(test, not(target_family = "wasm")))]
mod tests {
    use std::sync::{Arc, Mutex};

    #[cfg(target_os = "linux")]
    use super::{Error, Guard};
    use super::{is_same_device, now};

    fn noop() -> (wgpu::Device, wgpu::Queue) {
        wgpu::Device::noop(&wgpu::DeviceDescriptor::default())
    }

    /// Memory that runs out often shows as an invalid object too: it is told as what it is, and to nobody else. In a process
    /// that is allowed less than a buffer takes.
    #[cfg(target_os = "linux")]
    #[test]
    fn exhausted_memory_is_told_as_that() {
        const WITHIN: &str = "WGPU_ADAM_LITTLE_MEMORY";
        if std::env::var_os(WITHIN).is_none() {
            let (_, module) = module_path!().split_once("::").unwrap();
            let output = std::process::Command::new("sh")
                .args(["-c", "ulimit -v 1500000 && exec \"$0\" \"$@\""])
                .arg(std::env::current_exe().unwrap())
                .args(["--exact", &format!("{module}::exhausted_memory_is_told_as_that")])
                .env(WITHIN, "1")
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains("1 passed"), "{text}");
            return;
        }
        let max_buffer_size = i32::MAX as u64;
        let required_limits = wgpu::Limits { max_buffer_size, ..Default::default() };
        let descriptor = wgpu::DeviceDescriptor { required_limits, ..Default::default() };
        let (device, _queue) = wgpu::Device::noop(&descriptor);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let own = Arc::clone(&seen);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| own.lock().unwrap().push(error.to_string())));
        let made = Guard::new(&device).run("a thing", || {
            let buffer = device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: max_buffer_size / 4 * 4,
                usage: wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            });
            // Of an invalid buffer, a mistake.
            buffer.unmap();
        });
        assert_eq!(made, Err(Error::OutOfMemory { what: "a thing".into() }));
        assert_eq!(*seen.lock().unwrap(), Vec::<String>::new(), "the application's handler");
    }

    #[test]
    fn devices_are_told_apart_and_nobody_notices() {
        let ((one, _), (other, _)) = (noop(), noop());
        let seen = Arc::new(Mutex::new(Vec::new()));
        for device in [&one, &other] {
            let seen = Arc::clone(&seen);
            device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
                seen.lock().unwrap().push(error.to_string());
            }));
        }
        // The application's own scopes, around everything below.
        let scopes = [&one, &other].map(|device| device.push_error_scope(wgpu::ErrorFilter::Validation));
        assert_eq!(one, other, "wgpu distinguishes devices of two instances");
        assert!(is_same_device(&one, &one.clone()));
        assert!(!is_same_device(&one, &other));
        assert!(!is_same_device(&other, &one));
        for scope in scopes {
            assert!(now(scope.pop()).is_none(), "an error reached the application's scope");
        }
        assert!(!is_same_device(&one, &other));
        one.destroy();
        assert!(!is_same_device(&one, &one.clone()), "a lost device");
        assert!(!is_same_device(&other, &one));
        assert!(!is_same_device(&one, &other));
        assert_eq!(*seen.lock().unwrap(), Vec::<String>::new(), "the application's handler");
    }
}
