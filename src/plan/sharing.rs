//! How invocations share the elements: what is best depends on the kind of adapter (benches/NOTES.md). Software adapters
//! run an invocation after another, and pay for barriers.

/// The quads, groups of four elements, that an invocation steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sharing {
    /// In a flat dispatch over a long run, next to each other; as a power of two.
    pub long_quads_log2: u32,
    /// Of a tile record's 64; as a power of two.
    pub tile_quads_log2: u32,
    /// Whether those of a tile are next to each other too: else neighbours belong to neighbouring invocations.
    pub neighbours: bool,
    /// Invocations of control.wgsl's one workgroup, a power of two.
    pub control_invocations: u32,
}

impl Sharing {
    /// For an adapter.
    pub fn of(adapter: &wgpu::AdapterInfo) -> Self {
        match adapter.device_type {
            // Mesa runs eight invocations at a time, and reads what is the same for all of them anew for each eight.
            wgpu::DeviceType::Cpu if adapter.name.starts_with("llvmpipe") => {
                Self { long_quads_log2: 2, tile_quads_log2: 2, neighbours: true, control_invocations: 32 }
            }
            // SwiftShader, WARP: more in an invocation than one step's numbers does not fit the registers.
            wgpu::DeviceType::Cpu => {
                Self { long_quads_log2: 0, tile_quads_log2: 1, neighbours: true, control_invocations: 32 }
            }
            // A GPU's neighbouring invocations read neighbouring words at once.
            _ => Self { long_quads_log2: 0, tile_quads_log2: 1, neighbours: false, control_invocations: 256 },
        }
    }

    /// In a flat dispatch over so many elements, as a power of two: one quad each, where several would leave half of the
    /// only workgroup idle, which Mesa runs all the same.
    pub fn flat_quads_log2(self, length: u64, workgroup_size: u32) -> u32 {
        let of_workgroup = u64::from(workgroup_size) << (2 + self.long_quads_log2);
        if 2 * length <= of_workgroup { 0 } else { self.long_quads_log2 }
    }

    /// Invocations that share a tile record: at most 32 of them.
    pub fn tile_invocations(self) -> u32 {
        64 >> self.tile_quads_log2
    }
}
