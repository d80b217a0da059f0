//! Which kernels belong to which device. All optimizers of the process find them here, and only optimizers keep them
//! alive.

use std::sync::{Arc, Weak};

use super::Kernels;
use crate::device::gpu::Gpu;
use crate::device::guard::is_same_device;
use crate::error::Error;

/// The kernels of all devices.
#[derive(Debug)]
struct Known {
    kernels: Vec<Weak<Kernels>>,
    /// The number of kernels ever added.
    added: u64,
}

impl Known {
    const fn new() -> Self {
        Self { kernels: Vec::new(), added: 0 }
    }

    /// Returns the kernels that are alive.
    fn alive(&mut self) -> Vec<Arc<Kernels>> {
        self.kernels.retain(|kernels| kernels.strong_count() > 0);
        self.kernels.iter().filter_map(Weak::upgrade).collect()
    }
}

impl Kernels {
    /// Returns the kernels of the device, which other optimizers on it may share. On a lost device new ones are
    /// created, which reports the loss.
    ///
    /// No wgpu object is created, compared or dropped under the lock, because wgpu may call the application's handlers,
    /// and these may create an optimizer. So two threads that create a device's first optimizers at the same moment
    /// both create the kernels. Both then use the kernels of the thread that finished first.
    pub(crate) fn of(gpu: &Gpu) -> Result<Arc<Self>, Error> {
        let mut made = None;
        loop {
            let (alive, added) = with(|known| (known.alive(), known.added));
            let ours = alive.iter().find(|kernels| kernels.serves(gpu));
            if let Some(kernels) = ours {
                gpu.guard.join(&kernels.outcome);
                return Ok(Arc::clone(kernels));
            }
            drop(alive);
            let kernels = match made.take() {
                Some(kernels) => kernels,
                #[cfg_attr(
                    target_family = "wasm",
                    expect(clippy::arc_with_non_send_sync, reason = "in a browser no wgpu object leaves its thread")
                )]
                None => Arc::new(Self::new(gpu)?),
            };
            let is_first = with(|known| {
                let is_first = known.added == added;
                if is_first {
                    known.kernels.push(Arc::downgrade(&kernels));
                    known.added += 1;
                }
                is_first
            });
            if is_first {
                return Ok(kernels);
            }
            made = Some(kernels);
        }
    }

    fn serves(&self, gpu: &Gpu) -> bool {
        !self.outcome.has_failed() && is_same_device(&gpu.device, &self.device)
    }
}

/// Reads or changes the list of all kernels.
#[cfg(not(target_family = "wasm"))]
fn with<T>(look: impl FnOnce(&mut Known) -> T) -> T {
    static KNOWN: std::sync::Mutex<Known> = std::sync::Mutex::new(Known::new());
    // The list is whole, even if the lock is poisoned.
    look(&mut KNOWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// Reads or changes the list of this thread's kernels. In a browser no wgpu object leaves its thread.
#[cfg(target_family = "wasm")]
fn with<T>(look: impl FnOnce(&mut Known) -> T) -> T {
    thread_local!(static KNOWN: std::cell::RefCell<Known> = const { std::cell::RefCell::new(Known::new()) });
    KNOWN.with_borrow_mut(look)
}
