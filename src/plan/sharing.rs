//! How invocations share the elements. The best way depends on the kind of adapter (benches/NOTES.md): software
//! adapters run one invocation after another, and barriers cost them time.

/// How many quads (groups of four elements) an invocation steps, and which ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sharing {
    /// log2 of the adjacent quads that an invocation steps in a flat dispatch over a long run.
    pub long_quads_log2: u32,
    /// log2 of the quads that an invocation steps of a tile record's 64.
    pub tile_quads_log2: u32,
    /// Whether an invocation's quads of a tile are adjacent too. Otherwise adjacent quads belong to neighbouring
    /// invocations.
    pub neighbours: bool,
    /// Invocations of the only workgroup of control.wgsl, a power of two.
    pub control_invocations: u32,
}

impl Sharing {
    /// Returns the best sharing for an adapter.
    pub fn of(adapter: &wgpu::AdapterInfo) -> Self {
        match adapter.device_type {
            // Mesa runs eight invocations at a time, and for each eight it loads again the values that all invocations
            // share.
            wgpu::DeviceType::Cpu if adapter.name.starts_with("llvmpipe") => {
                Self { long_quads_log2: 2, tile_quads_log2: 2, neighbours: true, control_invocations: 32 }
            }
            // SwiftShader, WARP: the numbers of more than one step do not fit the registers.
            wgpu::DeviceType::Cpu => {
                Self { long_quads_log2: 0, tile_quads_log2: 1, neighbours: true, control_invocations: 32 }
            }
            // A GPU loads neighbouring words for neighbouring invocations in one access.
            _ => Self { long_quads_log2: 0, tile_quads_log2: 1, neighbours: false, control_invocations: 256 },
        }
    }

    /// log2 of the quads that an invocation steps in a flat dispatch over `length` elements. It is one quad where
    /// several would leave half of the only workgroup idle, because Mesa runs idle invocations too.
    pub fn flat_quads_log2(self, length: u64, workgroup_size: u32) -> u32 {
        let of_workgroup = u64::from(workgroup_size) << (2 + self.long_quads_log2);
        if 2 * length <= of_workgroup { 0 } else { self.long_quads_log2 }
    }

    /// The number of invocations that share a tile record: at most 32.
    pub fn tile_invocations(self) -> u32 {
        64 >> self.tile_quads_log2
    }
}
