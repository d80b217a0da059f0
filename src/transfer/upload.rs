//! Copies bytes of the host into buffers, through a staging buffer of bounded size.

use futures_channel::oneshot;

use crate::device::gpu::Gpu;
use crate::device::wait::Poller;
use crate::error::Error;
use crate::planes::Plane;

/// Where bytes go, and what they are.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub buffer: wgpu::Buffer,
    pub offset: u64,
    pub size: u64,
    /// The parameter's id in the source.
    pub id: u64,
    pub what: What,
    /// The place of the first byte in the source's tensor.
    pub start: u64,
}

/// One of a parameter's tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum What {
    /// A plane of the parameter's state.
    State(Plane),
    /// The parameter's values: only checkpoints have them.
    #[cfg_attr(not(feature = "safetensors"), expect(dead_code, reason = "only checkpoints have values"))]
    Values,
}

/// A source of bytes.
pub(crate) trait Bytes {
    /// Fills `into` with a tensor's bytes from `start` on.
    fn read(&self, id: u64, what: What, start: u64, into: &mut [u8]) -> Result<(), Error>;
}

const WHAT: &str = "the state that is loaded";
/// The number of bytes read at a time.
const PART: u64 = 1 << 20;

/// Passes all bytes to the queue at once. The queue holds as much memory until the next submit.
pub(crate) fn write_all(gpu: &Gpu, targets: &[Target], bytes: &impl Bytes) -> Result<(), Error> {
    let mut part = Vec::new();
    for target in targets {
        let mut done = 0;
        while done < target.size {
            part.resize(PART.min(target.size - done) as usize, 0);
            bytes.read(target.id, target.what, target.start + done, &mut part)?;
            gpu.guard.run(WHAT, || gpu.queue.write_buffer(&target.buffer, target.offset + done, &part))?;
            done += part.len() as u64;
        }
    }
    Ok(())
}

/// A buffer that the host writes and the GPU copies from.
pub(crate) struct Staging {
    gpu: Gpu,
    buffer: wgpu::Buffer,
}

impl Staging {
    pub(crate) fn new(gpu: &Gpu, bytes: u64) -> Result<Self, Error> {
        let size = bytes.min(gpu.device.limits().max_buffer_size / 4 * 4).max(4);
        let buffer = gpu
            .guard
            .run(WHAT, || gpu.buffer("upload", size, wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC))?;
        Ok(Self { gpu: gpu.clone(), buffer })
    }

    /// Writes all bytes, filling the buffer as often as necessary. A submit of its own copies each filling, behind
    /// everything submitted before. The next filling waits for that copy.
    pub(crate) async fn write_all(&self, targets: &[Target], bytes: &impl Bytes) -> Result<(), Error> {
        let Gpu { device, queue, guard, .. } = &self.gpu;
        let mut cursor = Cursor { targets, done: 0 };
        while cursor.next().is_some() {
            let copies = self.fill(&mut cursor, bytes).await?;
            guard.run(WHAT, || {
                let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(WHAT) });
                for (from, target, offset, size) in copies {
                    encoder.copy_buffer_to_buffer(&self.buffer, from, &target.buffer, offset, Some(size));
                }
                queue.submit([encoder.finish()]);
            })?;
        }
        Ok(())
    }

    /// Maps the buffer, which waits for earlier copies, and fills it. Returns the copies to record: place in the
    /// buffer, target, place in the target's buffer, size.
    async fn fill<'a>(
        &self,
        cursor: &mut Cursor<'a>,
        bytes: &impl Bytes,
    ) -> Result<Vec<(u64, &'a Target, u64, u64)>, Error> {
        self.map().await?;
        let mut view = self.buffer.get_mapped_range_mut(..).map_err(|error| self.gpu.guard.refused(WHAT, error))?;
        let (mut used, mut copies) = (0, Vec::new());
        // Mapped memory may be slow to read, so it is only written, and in order.
        let mut part = vec![0; PART.min(self.buffer.size()) as usize];
        while let Some((target, done)) = cursor.next() {
            let size = (target.size - done).min(self.buffer.size() - used).min(part.len() as u64);
            let Some(part) = part.get_mut(..size as usize).filter(|part| !part.is_empty()) else { break };
            bytes.read(target.id, target.what, target.start + done, part)?;
            view.slice(used as usize..(used + size) as usize).copy_from_slice(part);
            copies.push((used, target, target.offset + done, size));
            used += size;
            cursor.done += size;
        }
        drop(view);
        self.gpu.guard.unmap(WHAT, &self.buffer)?;
        Ok(copies)
    }

    async fn map(&self) -> Result<(), Error> {
        let Gpu { device, queue, guard, .. } = &self.gpu;
        let (sender, mapped) = oneshot::channel();
        let poller = guard.run(WHAT, || {
            self.buffer.map_async(wgpu::MapMode::Write, .., move |result| drop(sender.send(result)));
            // An empty submit to wait for: whatever still reads the buffer was submitted before it.
            Poller::new(device, queue.submit([]))
        })?;
        let gone = || Error::DeviceLost { what: WHAT.into() };
        poller.wait(mapped).await.ok_or_else(gone)?.map_err(|error| guard.refused(WHAT, error))
    }
}

/// The progress of an upload.
struct Cursor<'a> {
    targets: &'a [Target],
    /// Bytes of the first target that are done.
    done: u64,
}

impl<'a> Cursor<'a> {
    /// Returns the current target, and how many of its bytes are done.
    fn next(&mut self) -> Option<(&'a Target, u64)> {
        while let Some((first, rest)) = self.targets.split_first() {
            if self.done < first.size {
                return Some((first, self.done));
            }
            (self.targets, self.done) = (rest, 0);
        }
        None
    }
}
