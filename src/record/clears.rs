//! The clears that fill gradients with zeros.

/// Bytes of a gradient buffer to clear.
#[derive(Clone, Debug)]
pub(crate) struct Clear {
    pub buffer: wgpu::Buffer,
    pub offset: u64,
    pub size: u64,
}
