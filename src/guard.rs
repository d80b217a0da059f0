//! Creation under error scopes: what only the device can know comes back as an error of ours.

use crate::Error;

/// Runs whatever creates, grows or maps inside Validation and OutOfMemory scopes.
///
/// Native: the scopes are read at once. Without them the first write to a buffer made on a lost device would reach the
/// application's uncaptured-error handler, whose default panics. Browser: the answer is a promise, kept for
/// [`ready`](Self::ready).
#[derive(Clone)]
pub(crate) struct Guard {
    device: wgpu::Device,
    #[cfg(target_family = "wasm")]
    pending: std::rc::Rc<std::cell::RefCell<Vec<Pending>>>,
}

/// What was being made, and the promise of its error.
#[cfg(target_family = "wasm")]
type Pending = (String, std::pin::Pin<Box<dyn Future<Output = Option<wgpu::Error>>>>);

impl Guard {
    pub(crate) fn new(device: &wgpu::Device) -> Self {
        Self {
            device: device.clone(),
            #[cfg(target_family = "wasm")]
            pending: std::rc::Rc::default(),
        }
    }

    /// Makes something; `what` names it in the error.
    pub(crate) fn run<T>(&self, what: &str, make: impl FnOnce() -> T) -> Result<T, Error> {
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let made = make();
        let (validation, memory) = (validation.pop(), memory.pop());
        self.settle(what, async move {
            // The order matters: exhausted memory often shows as an invalid object too.
            let memory = memory.await;
            let validation = validation.await;
            memory.or(validation)
        })?;
        Ok(made)
    }

    /// Unmaps a buffer. Native: on a lost device that would reach the application's handler.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn unmap(&self, what: &str, buffer: &wgpu::Buffer) -> Result<(), Error> {
        self.run(what, || buffer.unmap())
    }

    /// Unmaps a buffer. Browser: never an error, so that no promise is kept of what is done in every step.
    #[cfg(target_family = "wasm")]
    pub(crate) fn unmap(&self, _: &str, buffer: &wgpu::Buffer) -> Result<(), Error> {
        buffer.unmap();
        Ok(())
    }

    #[cfg(not(target_family = "wasm"))]
    fn settle(&self, what: &str, error: impl Future<Output = Option<wgpu::Error>>) -> Result<(), Error> {
        match known(error) {
            Some(wgpu::Error::OutOfMemory { .. }) => Err(Error::OutOfMemory { what: what.into() }),
            Some(error) => Err(self.refused(what, error)),
            None => Ok(()),
        }
    }

    /// The error of what wgpu refused. Of a lost device it tells by what was not made there being invalid, which nobody
    /// understands; so it is asked whether the device is lost.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn refused(&self, what: &str, message: impl ToString) -> Error {
        if self.is_lost() {
            return Error::DeviceLost { what: what.into() };
        }
        Error::Device { what: what.into(), message: message.to_string() }
    }

    /// The error of what the browser refused. No scope of errors tells of a lost device, nor of one without memory.
    #[cfg(target_family = "wasm")]
    pub(crate) fn refused(&self, what: &str, message: impl ToString) -> Error {
        let message = format!("{}; the device may be lost or out of memory", message.to_string());
        Error::Device { what: what.into(), message }
    }

    /// Whether the device is lost: whether it does not make even a small buffer. wgpu tells of the loss to one callback
    /// alone, which is the application's.
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
        // A buffer that was not made is invalid, and to unmap it a mistake.
        probe.unmap();
        let (validation, memory) = (known(validation.pop()), known(memory.pop()));
        validation.is_some() && memory.is_none()
    }

    #[cfg(target_family = "wasm")]
    fn settle(&self, what: &str, error: impl Future<Output = Option<wgpu::Error>> + 'static) -> Result<(), Error> {
        self.pending.borrow_mut().push((what.into(), Box::pin(error)));
        Ok(())
    }

    /// The first error of all that was made since the last call. Native: there is none left to tell.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        Ok(())
    }

    /// The first error of all that was made since the last call, all of which it waits for.
    #[cfg(target_family = "wasm")]
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        let mut first = Ok(());
        for (what, error) in self.pending.take() {
            if let Some(error) = error.await {
                first = first.and(Err(translate(&what, &error)));
            }
        }
        first
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Guard").finish_non_exhaustive()
    }
}

/// The error of scopes that were popped: native wgpu knows it then, and one poll reads it.
#[cfg(not(target_family = "wasm"))]
fn known(error: impl Future<Output = Option<wgpu::Error>>) -> Option<wgpu::Error> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(error).poll(&mut context) {
        std::task::Poll::Ready(error) => error,
        std::task::Poll::Pending => None,
    }
}

#[cfg(target_family = "wasm")]
fn translate(what: &str, error: &wgpu::Error) -> Error {
    match error {
        wgpu::Error::OutOfMemory { .. } => Error::OutOfMemory { what: what.into() },
        other => Error::Device { what: what.into(), message: other.to_string() },
    }
}
