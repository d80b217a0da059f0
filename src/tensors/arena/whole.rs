//! An arena as a whole, for shaders that bind all of a model at once.

use super::{ArenaTensor, TensorArena};
use crate::error::Error;
use crate::planes::Format;

impl TensorArena {
    /// Returns the buffer of all parameters. Bind it as a whole if a shader needs more tensors than there are bindings,
    /// and find each tensor with [`offset`](Self::offset) or [`offsets_wgsl`](Self::offsets_wgsl).
    #[must_use]
    pub fn params_buffer(&self) -> &wgpu::Buffer {
        &self.params
    }

    /// Returns the buffer of all gradients. It has the layout of the parameters: a tensor's gradient has the
    /// parameter's offset.
    #[must_use]
    pub fn grads_buffer(&self) -> &wgpu::Buffer {
        &self.grads
    }

    /// Returns the names of the tensors, in the order in which they lie.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.iter().map(|tensor| tensor.name.as_str())
    }

    /// Returns the named tensor's shape.
    ///
    /// # Errors
    /// No tensor has this name.
    pub fn shape(&self, name: &str) -> Result<&[usize], Error> {
        Ok(&self.find(name)?.shape)
    }

    /// Returns where the named tensor begins, in bytes, in the buffer of parameters and in the buffer of gradients. A
    /// multiple of 256 and of the device's `min_storage_buffer_offset_alignment`. Divide by 4 for elements.
    ///
    /// # Errors
    /// No tensor has this name.
    pub fn offset(&self, name: &str) -> Result<u64, Error> {
        Ok(self.find(name)?.offset)
    }

    /// Returns WGSL constants with the first element and the length of each tensor, to put before a shader that binds
    /// the whole arena as `array<f32>`. Names are in capitals, and characters other than ASCII letters and digits
    /// become `_`. The arena must not be larger than the device's `max_storage_buffer_binding_size`.
    ///
    /// ```no_run
    /// # fn demo(arena: &wgpu_adam::TensorArena) {
    /// // const LAYER0_WEIGHT: u32 = 0u;
    /// // const LAYER0_WEIGHT_LENGTH: u32 = 8192u;
    /// let source = arena.offsets_wgsl()
    ///     + "@group(0) @binding(0) var<storage, read> params: array<f32>;
    ///        @group(0) @binding(1) var<storage, read_write> grads: array<f32>;
    ///        fn weight(i: u32) -> f32 { return params[LAYER0_WEIGHT + i]; }";
    /// # }
    /// ```
    #[must_use]
    pub fn offsets_wgsl(&self) -> String {
        let lines = |tensor: &ArenaTensor| {
            let (name, first) = (constant(&tensor.name), Format::PARAM.elements(tensor.offset));
            format!("const {name}: u32 = {first}u;\nconst {name}_LENGTH: u32 = {}u;\n", tensor.length)
        };
        self.tensors.iter().map(lines).collect()
    }
}

/// Turns a name into a WGSL identifier, which begins with neither a digit nor two underscores.
fn constant(name: &str) -> String {
    let mut constant: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    if !constant.starts_with(|c: char| c.is_ascii_alphabetic()) {
        constant.insert(0, 'T');
    }
    constant
}

#[cfg(test)]
mod tests {
    use crate::{Error, TensorArena, wgpu};

    #[test]
    fn a_table_of_offsets() {
        let (device, _queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
        let arena =
            TensorArena::new(&device, [("layer0.weight", vec![65]), ("0.bias", vec![]), ("über", vec![0])]).unwrap();
        assert_eq!(arena.names().collect::<Vec<_>>(), ["layer0.weight", "0.bias", "über"]);
        assert_eq!((arena.shape("layer0.weight").unwrap(), arena.offset("0.bias").unwrap()), (&[65][..], 512));
        assert!(matches!(arena.offset("bias"), Err(Error::NoSuchTensor { .. })));
        let want = "\
const LAYER0_WEIGHT: u32 = 0u;
const LAYER0_WEIGHT_LENGTH: u32 = 65u;
const T0_BIAS: u32 = 128u;
const T0_BIAS_LENGTH: u32 = 1u;
const T_BER: u32 = 192u;
const T_BER_LENGTH: u32 = 0u;
";
        assert_eq!(arena.offsets_wgsl(), want);
        assert_eq!(arena.params_buffer().size(), arena.grads_buffer().size());
    }
}
