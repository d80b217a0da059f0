//! Objects that are created once for all optimizers on a device, when the first optimizer needs them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::device::guard::{Guard, Outcome};
use crate::error::Error;

/// Objects by their keys. They are few, so they are searched one by one.
///
/// Nothing is created or dropped under the lock, because wgpu may call the application's handlers, and these may create
/// an optimizer. So two threads that need the same object at the same moment both create it. Both then get the object
/// of the thread that finished first.
#[derive(Debug)]
pub(crate) struct Made<K, T>(Mutex<Vec<Entry<K, T>>>);

#[derive(Debug)]
struct Entry<K, T> {
    key: K,
    made: T,
    outcome: Outcome,
}

impl<K, T> Default for Made<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Copy + PartialEq, T: Clone> Made<K, T> {
    /// Returns the object. The first request creates it. `what` names it in the error. An object that failed is not
    /// kept. In a browser, where errors arrive later, all optimizers that have the object report its error.
    pub(crate) fn get(&self, guard: &Guard, key: K, what: &str, make: impl FnOnce() -> T) -> Result<T, Error> {
        let kept = self.kept(key);
        let (made, outcome) = match kept {
            Some(kept) => kept,
            None => {
                let (made, outcome) = guard.run_shared(what, make)?;
                self.keep(Entry { key, made, outcome })
            }
        };
        guard.join(&outcome);
        Ok(made)
    }

    fn kept(&self, key: K) -> Option<(T, Outcome)> {
        let entries = self.lock();
        let entry = entries.iter().find(|entry| entry.key == key && !entry.outcome.has_failed())?;
        Some((entry.made.clone(), entry.outcome.clone()))
    }

    /// Keeps the object for others and returns it. If another one has been kept meanwhile, returns that one instead.
    fn keep(&self, entry: Entry<K, T>) -> (T, Outcome) {
        let (made, outcome) = (entry.made.clone(), entry.outcome.clone());
        let failed: Vec<_>;
        {
            let mut entries = self.lock();
            let of_key = |other: &Entry<K, T>| other.key == entry.key;
            if let Some(other) = entries.iter().find(|other| of_key(other) && !other.outcome.has_failed()) {
                return (other.made.clone(), other.outcome.clone());
            }
            failed = entries.extract_if(.., |other| of_key(other)).collect();
            entries.push(entry);
        }
        drop(failed);
        (made, outcome)
    }

    /// A poisoned lock was held by a thread of the application that panicked. The list is whole all the same.
    fn lock(&self) -> MutexGuard<'_, Vec<Entry<K, T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, not(target_family = "wasm")))]
mod tests {
    use std::cell::Cell;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::Made;
    use crate::device::guard::Guard;
    use crate::error::Error;

    fn guard() -> (wgpu::Device, Guard) {
        let (device, _) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
        let guard = Guard::new(&device);
        (device, guard)
    }

    #[test]
    fn what_failed_is_not_kept_and_what_is_kept_is_not_made_again() {
        let (device, guard) = guard();
        let (made, times) = (Made::default(), Cell::new(0));
        let get = |key: u32, fails: bool| {
            made.get(&guard, key, "a thing", || {
                times.set(times.get() + 1);
                if fails {
                    drop(device.create_sampler(&wgpu::SamplerDescriptor { lod_min_clamp: -1.0, ..Default::default() }));
                }
                times.get()
            })
        };
        for time in 1..=2 {
            assert!(matches!(get(7, true), Err(Error::Device { .. })), "the failure number {time}");
        }
        assert_eq!(get(7, false), Ok(3));
        assert_eq!(get(7, true), Ok(3));
        assert_eq!(get(8, false), Ok(4));
        assert_eq!(get(7, true), Ok(3));
    }

    /// A handler of the application does this if it creates an optimizer.
    #[test]
    fn making_may_ask_for_the_same() {
        let (_device, guard) = guard();
        let made = Made::default();
        let got = made.get(&guard, (), "a thing", || {
            assert_eq!(made.get(&guard, (), "a thing", || "inner"), Ok("inner"));
            "outer"
        });
        assert_eq!(got, Ok("inner"), "the object that was finished first is kept");
        assert_eq!(made.get(&guard, (), "a thing", || "late"), Ok("inner"));
    }

    #[test]
    fn threads_get_the_same() {
        let (_device, guard) = guard();
        let (made, times, start) = (Made::default(), AtomicU32::new(0), Barrier::new(8));
        let all: Vec<u32> = std::thread::scope(|scope| {
            let get = || {
                start.wait();
                made.get(&guard, (), "a thing", || times.fetch_add(1, Ordering::Relaxed)).unwrap()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(get)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(all.iter().all(|got| got == &all[0]), "{all:?}");
    }
}
