//! State between the GPU and the host, through staging buffers of bounded size.

pub(crate) mod copying;
pub(crate) mod readback;
pub(crate) mod upload;
