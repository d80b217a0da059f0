//! Copies values of an arena's tensors to and from the host.

use super::{ArenaTensor, TensorArena};
use crate::device::gpu::Gpu;
use crate::device::leases::Leases;
use crate::error::Error;
use crate::error::tensor::TensorLabel;
use crate::planes::Format;
use crate::transfer::copying::Copies;
use crate::transfer::readback::{Readback, Source};

impl TensorArena {
    /// Writes all of the named tensor's parameters with [`wgpu::Queue::write_buffer`], which takes place before the
    /// next submit.
    ///
    /// # Errors
    /// No tensor has this name; `values` has another length than the tensor; a lost device.
    pub fn write_param(&self, queue: &wgpu::Queue, name: &str, values: &[f32]) -> Result<(), Error> {
        self.write(queue, &self.params, self.find(name)?, values, "parameter")
    }

    /// Writes all of the named tensor's gradient, like [`write_param`](Self::write_param).
    ///
    /// # Errors
    /// As for [`write_param`](Self::write_param).
    pub fn write_grad(&self, queue: &wgpu::Queue, name: &str, values: &[f32]) -> Result<(), Error> {
        self.write(queue, &self.grads, self.find(name)?, values, "gradient of")
    }

    /// Submits a copy when it is called, and returns the named tensor's parameters. The copy comes after everything
    /// that was submitted before. The future waits for it and borrows nothing. On native targets the future polls the
    /// device itself.
    ///
    /// ```no_run
    /// # async fn demo(arena: &wgpu_adam::TensorArena, queue: &wgpu_adam::wgpu::Queue) -> Result<(), wgpu_adam::Error> {
    /// let weights: Vec<f32> = arena.read_param(queue, "layer0.weight").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// No tensor has this name; out of memory for a buffer of the tensor's size; a lost device.
    pub fn read_param(&self, queue: &wgpu::Queue, name: &str) -> impl Future<Output = Result<Vec<f32>, Error>> + use<> {
        self.read(queue, &self.params, name)
    }

    /// Submits a copy when it is called, and returns the named tensor's gradient, like
    /// [`read_param`](Self::read_param).
    ///
    /// # Errors
    /// As for [`read_param`](Self::read_param).
    pub fn read_grad(&self, queue: &wgpu::Queue, name: &str) -> impl Future<Output = Result<Vec<f32>, Error>> + use<> {
        self.read(queue, &self.grads, name)
    }

    fn read(
        &self,
        queue: &wgpu::Queue,
        buffer: &wgpu::Buffer,
        name: &str,
    ) -> impl Future<Output = Result<Vec<f32>, Error>> + use<> {
        let copy = self.find(name).and_then(|tensor| {
            let size = Format::PARAM.bytes(tensor.length);
            let source = Source { buffer: buffer.clone(), offset: tensor.offset, size };
            let gpu = Gpu { guard: self.guard.clone(), ..Gpu::new(&self.device, queue, LABEL) };
            // Copies the whole tensor at once, so that no step of an optimizer has to wait.
            let (recorded, copying) = (Leases::default().outstanding(), Copies::default().copying);
            Readback::new(&gpu, WHAT, vec![source], size, recorded, &copying)
        });
        async move {
            let mut values = Vec::new();
            let keep = |bytes: &[u8]| {
                let words = bytes.chunks_exact(4);
                values.extend(words.map(|word| f32::from_le_bytes(word.try_into().unwrap_or_default())));
                Ok(())
            };
            copy?.for_each(keep).await?;
            Ok(values)
        }
    }

    fn write(
        &self,
        queue: &wgpu::Queue,
        buffer: &wgpu::Buffer,
        tensor: &ArenaTensor,
        values: &[f32],
        what: &str,
    ) -> Result<(), Error> {
        let (got, label) = (values.len() as u64, TensorLabel::named(what, &tensor.name));
        if got != tensor.length {
            return Err(Error::WrongLength { tensor: label, expected: tensor.length, got });
        }
        // A device that was lost before `new` is reported here.
        self.guard.run(&format!("the values of {label}"), || {
            queue.write_buffer(buffer, tensor.offset, bytemuck::cast_slice(values));
        })
    }
}

const LABEL: &str = "wgpu_adam.arena";
const WHAT: &str = "the copy of a tensor's values";
