//! The clears that fill gradients with zeros.

use crate::error::Error;
use crate::planes::Format;
use crate::registry::Registry;
use crate::sort::sort_by;

/// A range of bytes of a gradient buffer to clear.
#[derive(Clone, Debug)]
pub(crate) struct Clear {
    buffer: wgpu::Buffer,
    offset: u64,
    size: u64,
}

impl Clear {
    pub(crate) fn record(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.clear_buffer(&self.buffer, self.offset, Some(self.size));
    }
}

/// The ranges of all gradients, an arena's padding included. Adjacent ranges are merged.
pub(super) fn plan_clears(registry: &Registry) -> Result<Vec<Clear>, Error> {
    let mut ranges: Vec<(u32, u64, u64)> = Vec::new();
    for (number, tensor) in registry.tensors() {
        let Some(grad) = tensor.grad else { continue };
        let Some(buffer) = registry.buffers.get(grad.place.buffer) else { continue };
        let (usage, missing) = (buffer.usage(), wgpu::BufferUsages::COPY_DST);
        if !usage.contains(missing) {
            return Err(Error::BufferUsage { tensor: tensor.describe_grad(number), missing, usage });
        }
        let end = grad.place.start + tensor.length + grad.padding;
        ranges.push((grad.place.buffer, grad.place.start, end));
    }
    sort_by(&mut ranges, Ord::cmp);
    let mut merged: Vec<(u32, u64, u64)> = Vec::new();
    for (buffer, start, end) in ranges.into_iter().filter(|(_, start, end)| start < end) {
        match merged.last_mut() {
            Some(last) if last.0 == buffer && start <= last.2 => last.2 = last.2.max(end),
            _ => merged.push((buffer, start, end)),
        }
    }
    let clear = |(buffer, start, end): (u32, u64, u64)| {
        let buffer = registry.buffers.get(buffer)?.clone();
        Some(Clear { buffer, offset: Format::PARAM.bytes(start), size: Format::PARAM.bytes(end - start) })
    };
    Ok(merged.into_iter().filter_map(clear).collect())
}
