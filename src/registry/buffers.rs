//! The caller's buffers by number, so that planning compares numbers.

use std::collections::{HashMap, HashSet};

/// Handles of buffers in use. Numbers are never reused.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buffers {
    next: u32,
    numbers: HashMap<wgpu::Buffer, u32>,
    handles: HashMap<u32, wgpu::Buffer>,
}

impl Buffers {
    /// Returns the buffer's number. A buffer not seen before gets a new one.
    pub(crate) fn number(&mut self, buffer: &wgpu::Buffer) -> u32 {
        if let Some(&number) = self.numbers.get(buffer) {
            return number;
        }
        let number = self.next;
        self.next += 1;
        self.numbers.insert(buffer.clone(), number);
        self.handles.insert(number, buffer.clone());
        number
    }

    pub(crate) fn has(&self, buffer: &wgpu::Buffer) -> bool {
        self.numbers.contains_key(buffer)
    }

    pub(crate) fn get(&self, number: u32) -> Option<&wgpu::Buffer> {
        self.handles.get(&number)
    }

    /// Drops the handles of buffers whose numbers are not in `used`.
    pub(crate) fn retain(&mut self, used: &HashSet<u32>) {
        if used.len() < self.handles.len() {
            self.handles.retain(|number, _| used.contains(number));
            self.numbers.retain(|_, number| used.contains(number));
        }
    }
}
