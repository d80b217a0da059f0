//! Leases: numbered slots lent to encoders until their work is done.
//!
//! A recorded step takes a lease and gives it to the encoder. The lease ends when the GPU has done the work, or when the
//! encoder is dropped unsubmitted. Callbacks of wgpu must be `Send`, in a browser too, where no wgpu object is: so leases
//! hold numbers, and never an object of wgpu.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The slots that no encoder holds, and the leases that are not over.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    free: Arc<Mutex<Vec<u32>>>,
    /// Leases are numbered in the order of recording.
    next: u64,
    out: Out,
}

/// The numbers of the leases of encoders not submitted, and of steps in flight.
type Out = Arc<Mutex<BTreeSet<u64>>>;

/// Returns its slot when dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    pub slot: u32,
    free: Arc<Mutex<Vec<u32>>>,
    number: u64,
    out: Out,
}

/// The leases that were out at one moment.
pub(crate) struct Outstanding {
    out: Out,
    before: u64,
}

impl Leases {
    /// Adds slots that nobody holds.
    pub(crate) fn add(&self, slots: impl DoubleEndedIterator<Item = u32>) {
        lock(&self.free).extend(slots.rev());
    }

    /// Leases a free slot, if there is one.
    pub(crate) fn take(&mut self) -> Option<Lease> {
        let slot = lock(&self.free).pop()?;
        Some(self.lease(slot))
    }

    /// Leases a slot that was never added.
    pub(crate) fn lease(&mut self, slot: u32) -> Lease {
        let number = self.next;
        self.next += 1;
        lock(&self.out).insert(number);
        Lease { slot, free: Arc::clone(&self.free), number, out: Arc::clone(&self.out) }
    }

    /// The leases given so far.
    pub(crate) fn outstanding(&self) -> Outstanding {
        Outstanding { out: Arc::clone(&self.out), before: self.next }
    }

    /// Other slots, none of them free yet. Leases go on being numbered and counted.
    pub(crate) fn renewed(&self) -> Self {
        Self { free: Arc::default(), next: self.next, out: Arc::clone(&self.out) }
    }
}

impl Lease {
    /// Ends when the encoder's work is done, or the encoder dropped.
    pub(crate) fn end_with(self, encoder: &wgpu::CommandEncoder) {
        // The whole lease must move in: a closure that named a field would drop the rest of it here.
        encoder.on_submitted_work_done(move || drop(self));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        lock(&self.free).push(self.slot);
        lock(&self.out).remove(&self.number);
    }
}

impl Outstanding {
    /// How many are out still.
    pub(crate) fn count(&self) -> usize {
        lock(&self.out).range(..self.before).count()
    }
}

/// Takes a lock. A poisoned one was held by a panicking thread of the application; what it holds is whole.
pub(crate) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
