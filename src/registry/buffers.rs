//! The caller's buffers by number, so that planning compares numbers.

use std::collections::{HashMap, HashSet};

/// Handles of buffers in use. Numbers are never used again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buffers {
    next: u32,
    numbers: HashMap<wgpu::Buffer, u32>,
    handles: HashMap<u32, wgpu::Buffer>,
}

impl Buffers {
    /// The buffer's number, a new one for a buffer not seen before.
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

    /// Lets go of the buffers that no number here names.
    pub(crate) fn retain(&mut self, used: &HashSet<u32>) {
        if used.len() < self.handles.len() {
            self.handles.retain(|number, _| used.contains(number));
            self.numbers.retain(|_, number| used.contains(number));
        }
    }
}
