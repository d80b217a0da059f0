//! Leases: numbered slots lent to encoders until their work is done.
//!
//! A recorded step takes a lease and gives it to the encoder. The lease ends when the GPU has done the work, or when
//! the encoder is dropped unsubmitted. Callbacks of wgpu must be `Send`, even in a browser, where wgpu objects are not.
//! So leases hold numbers and never a wgpu object.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The slots that no encoder holds, and the leases that have not ended.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    free: Arc<Mutex<Vec<u32>>>,
    /// The number of the next lease. Leases are numbered in the order of recording.
    next: u64,
    out: Out,
}

/// The numbers of the leases that have not ended: their encoders are not submitted yet, or their steps are in flight.
type Out = Arc<Mutex<BTreeSet<u64>>>;

/// Returns its slot when dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    pub slot: u32,
    free: Arc<Mutex<Vec<u32>>>,
    number: u64,
    out: Out,
}

/// The leases given until one moment. [`count`](Self::count) returns how many of them have not ended.
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

    /// Returns the leases given so far.
    pub(crate) fn outstanding(&self) -> Outstanding {
        Outstanding { out: Arc::clone(&self.out), before: self.next }
    }

    /// Returns leases of new slots, none of which is free yet. Old and new leases are numbered and counted together.
    pub(crate) fn renewed(&self) -> Self {
        Self { free: Arc::default(), next: self.next, out: Arc::clone(&self.out) }
    }
}

impl Lease {
    /// Ends the lease when the encoder's work is done, or when the encoder is dropped.
    pub(crate) fn end_with(self, encoder: &wgpu::CommandEncoder) {
        // The whole lease must move in. A closure that used a single field would capture only that, and drop the rest
        // here.
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
    /// Returns how many have not ended yet.
    pub(crate) fn count(&self) -> usize {
        lock(&self.out).range(..self.before).count()
    }
}

/// Takes a lock. A poisoned lock was held by a thread of the application that panicked. The data is whole all the same.
pub(crate) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
