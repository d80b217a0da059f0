//! Which kernels belong to which device: found by all optimizers of the process, held by none but them.

use std::sync::{Arc, Weak};

use super::Kernels;
use crate::device::gpu::Gpu;
use crate::device::guard::is_same_device;
use crate::error::Error;

/// The kernels of all devices.
#[derive(Debug)]
struct Known {
    kernels: Vec<Weak<Kernels>>,
    /// How many were ever added.
    added: u64,
}

impl Known {
    const fn new() -> Self {
        Self { kernels: Vec::new(), added: 0 }
    }

    /// Those that are alive.
    fn alive(&mut self) -> Vec<Arc<Kernels>> {
        self.kernels.retain(|kernels| kernels.strong_count() > 0);
        self.kernels.iter().filter_map(Weak::upgrade).collect()
    }
}

impl Kernels {
    /// The kernels of the device: those of other optimizers on it, if there are any. On a lost device they are made anew,
    /// which tells that it is lost.
    ///
    /// Nothing of wgpu is made, compared or dropped under the lock: the application's handlers may be called, and may
    /// make an optimizer. So two threads that make a device's first optimizers at the same moment both make the kernels;
    /// the first to come back gives them to both.
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

/// Looks at all of them, or adds to them.
#[cfg(not(target_family = "wasm"))]
fn with<T>(look: impl FnOnce(&mut Known) -> T) -> T {
    static KNOWN: std::sync::Mutex<Known> = std::sync::Mutex::new(Known::new());
    // Poisoned or not, what it holds is whole.
    look(&mut KNOWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// Looks at all of them, or adds to them. In a browser no wgpu object leaves its thread.
#[cfg(target_family = "wasm")]
fn with<T>(look: impl FnOnce(&mut Known) -> T) -> T {
    thread_local!(static KNOWN: std::cell::RefCell<Known> = const { std::cell::RefCell::new(Known::new()) });
    KNOWN.with_borrow_mut(look)
}
