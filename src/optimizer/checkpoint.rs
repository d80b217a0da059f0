//! Saves and loads checkpoints, streamed between the GPU and a file.

use std::collections::{BTreeMap, HashMap};

use crate::checkpoint::Checkpoint;
use crate::checkpoint::contents::CheckpointContents;
use crate::checkpoint::layout::{Layout, Part};
use crate::error::Error;
use crate::optimizer::WgpuAdam;
use crate::planes::Format;
use crate::state_dict::StateDict;
use crate::state_dict::load_options::LoadOptions;
use crate::state_dict::received::Decided;
use crate::state_dict::spoiled::NOT_LOADED;
use crate::transfer::readback::{Readback, Source};
use crate::transfer::upload::{Target, What};

impl WgpuAdam {
    /// Submits copies when it is called, and saves the run to a file: the parameters' values, the optimizer's state and
    /// the loss scale. The new file takes the old one's place when it is whole and on the disk. Until then the old file
    /// stays, whatever happens.
    ///
    /// ```no_run
    /// # async fn demo(adam: &mut wgpu_adam::WgpuAdam) -> Result<(), wgpu_adam::Error> {
    /// adam.save_checkpoint("run.safetensors").await?;
    /// // And in another process, with the same model:
    /// adam.load_checkpoint("run.safetensors").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// Saves the state at the call. The future borrows nothing, and writes the file while it is polled. Streams tensor
    /// by tensor: the host needs the [staging buffers](Self::set_staging_size) and a few MiB. Later steps may have to
    /// wait, as for [`state_dict`](Self::state_dict).
    ///
    /// The file is written as `.NAME.NUMBERS.partial` beside its target; a long NAME is cut short. If the process is
    /// killed, the partial file remains. A save of the same name removes it once it is an hour old. If the path is a
    /// link, the file replaces the link's target. A folder, a device or a pipe in its place is refused.
    ///
    /// # Errors
    /// As for [`state_dict`](Self::state_dict); a parameter's buffer without `COPY_SRC`; errors of the operating
    /// system; [`SpoiledState`](Error::SpoiledState) if moments are not finite, because gradients were infinite or NaN
    /// and no step was skipped for that. torch saves such state, and [`CheckpointContents::allow_nonfinite`] saves it
    /// here. After an error the old file is still there, with one exception: if only the folder cannot be flushed, as
    /// the message says, the new file is in its place, and a crash may undo that.
    #[cfg(not(target_family = "wasm"))]
    pub fn save_checkpoint<P: AsRef<std::path::Path>>(
        &self,
        path: P,
    ) -> impl Future<Output = Result<(), Error>> + use<P> {
        self.save_checkpoint_with(path, &CheckpointContents::new())
    }

    /// Like [`save_checkpoint`](Self::save_checkpoint), with chosen contents: further tensors and metadata, or the
    /// optimizer's state alone. Submits copies when it is called.
    ///
    /// ```no_run
    /// # async fn demo(adam: &mut wgpu_adam::WgpuAdam, step: u64) -> Result<(), wgpu_adam::Error> {
    /// use wgpu_adam::CheckpointContents;
    /// let contents = CheckpointContents::new().with_metadata("step", step.to_string());
    /// adam.save_checkpoint_with("run.safetensors", &contents).await?;
    /// // Later:
    /// let checkpoint = adam.load_checkpoint("run.safetensors").await?;
    /// let step: u64 = checkpoint.metadata().get("step").and_then(|step| step.parse().ok()).unwrap_or(0);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As for [`save_checkpoint`](Self::save_checkpoint); a tensor or a metadata entry whose name is the optimizer's
    /// own, or that could not be read again.
    #[cfg(not(target_family = "wasm"))]
    pub fn save_checkpoint_with<P: AsRef<std::path::Path>>(
        &self,
        path: P,
        contents: &CheckpointContents,
    ) -> impl Future<Output = Result<(), Error>> + use<P> {
        let begun = self.begin_checkpoint(contents);
        async move {
            let (layout, readback) = begun?.settle().await?;
            let path = path.as_ref();
            let file = crate::checkpoint::atomic::AtomicFile::create(path)?;
            let mut body = layout.begin(file, &path.display().to_string())?;
            readback.for_each(|bytes| body.feed(bytes)).await?;
            Ok(body.finish()?.commit()?)
        }
    }

    /// Submits copies when it is called, and returns the bytes of the file that
    /// [`save_checkpoint_with`](Self::save_checkpoint_with) writes. For browsers, which download or store them. The
    /// host needs memory for the whole file.
    ///
    /// # Errors
    /// As for [`save_checkpoint_with`](Self::save_checkpoint_with).
    pub fn checkpoint_bytes(
        &self,
        contents: &CheckpointContents,
    ) -> impl Future<Output = Result<Vec<u8>, Error>> + use<> {
        let begun = self.begin_checkpoint(contents);
        async move {
            let (layout, readback) = begun?.settle().await?;
            let mut body = layout.begin(Vec::new(), "")?;
            readback.for_each(|bytes| body.feed(bytes)).await?;
            Ok(body.finish()?)
        }
    }

    /// Loads the run that a file holds: the parameters' values, the optimizer's state and the loss scale. Verifies the
    /// whole file before anything changes. Returns the checkpoint, for its metadata and its other tensors.
    ///
    /// The options in the file, learning rates included, replace those given to [`new`](Self::new), as in torch.
    ///
    /// Streams like [`save_checkpoint`](Self::save_checkpoint). Matching, memory and waiting are as for
    /// [`load_state_dict`](Self::load_state_dict).
    ///
    /// # Errors
    /// As for [`Checkpoint::open`] and [`load_from`](Self::load_from).
    #[cfg(not(target_family = "wasm"))]
    pub async fn load_checkpoint(&mut self, path: impl AsRef<std::path::Path>) -> Result<Checkpoint, Error> {
        let checkpoint = Checkpoint::open(path)?;
        self.load_from(&checkpoint).await?;
        Ok(checkpoint)
    }

    /// Like [`load_checkpoint`](Self::load_checkpoint), from a checkpoint that is already open. Await the future to its
    /// end: if it is dropped earlier, only a part of the run has been loaded.
    ///
    /// Values of parameters are written after everything that was submitted before.
    ///
    /// # Errors
    /// As for [`load_state_dict`](Self::load_state_dict); [`NoParameters`](crate::CheckpointError::NoParameters) for a
    /// file with the optimizer's state alone; values whose shape is not the parameter's; a parameter's buffer without
    /// `COPY_DST`. After an error nothing has changed, unless the device was lost, or the file was written to, while
    /// buffers were being filled.
    pub async fn load_from(&mut self, checkpoint: &Checkpoint) -> Result<(), Error> {
        self.load_from_with(checkpoint, &LoadOptions::new()).await
    }

    /// Like [`load_from`](Self::load_from), with options: which entry belongs to which parameter, whether spoiled state
    /// is loaded, and whether the optimizer's state is loaded alone.
    ///
    /// # Errors
    /// As for [`load_from`](Self::load_from).
    pub async fn load_from_with(&mut self, checkpoint: &Checkpoint, options: &LoadOptions) -> Result<(), Error> {
        // The moments were checked when the checkpoint was opened.
        let loading = self.plan_loading(checkpoint.outline(), options.matching, |_, _, _| Ok(()))?;
        if !options.allow_nonfinite {
            self.check_spoiled(checkpoint, loading.ids())?;
        }
        let values = if options.optimizer_only { Vec::new() } else { self.value_targets(checkpoint, loading.ids())? };
        self.load_staged(loading, values, checkpoint).await
    }

    /// Returns an error if any of these parameters would get spoiled state. The error is about the lowest id.
    fn check_spoiled(&self, checkpoint: &Checkpoint, ids: &HashMap<u32, u64>) -> Result<(), Error> {
        let spoiled = ids.iter().filter_map(|(param, id)| Some((id, param, checkpoint.spoiled(*id)?)));
        match spoiled.min_by_key(|(id, ..)| **id) {
            Some((_, param, spoiled)) => Err(spoiled.error(self.registry.describe(*param), NOT_LOADED)),
            None => Ok(()),
        }
    }

    fn begin_checkpoint(&self, contents: &CheckpointContents) -> Result<Begun, Error> {
        let (dict, params) = self.outline()?;
        let decided = self.read_decided(&params)?;
        let mut shapes = BTreeMap::new();
        for (id, param) in (0..).zip(&params) {
            shapes.insert(id, self.tensor(*param)?.shape.clone());
        }
        let layout = Layout::new(&dict, contents, Some(&shapes))?;
        let mut sources = Vec::new();
        for Part { id, plane } in layout.parts() {
            let Some(&param) = params.get(id as usize) else { continue };
            match plane {
                Some(plane) => sources.extend(self.plane_sources(param, plane)),
                None => sources.push(self.values(param.index, wgpu::BufferUsages::COPY_SRC)?),
            }
        }
        Ok(Begun { dict, decided, layout, readback: self.read_back(sources)? })
    }

    /// Returns where a parameter's values lie, if its buffer has the usage.
    fn values(&self, param: u32, usage: wgpu::BufferUsages) -> Result<Source, Error> {
        let tensor = self.registry.tensor(param).ok_or(Error::NoSuchParam)?;
        let buffer = self.registry.buffers.get(tensor.param.place.buffer).ok_or(Error::NoSuchParam)?;
        let has = buffer.usage();
        if !has.contains(usage) {
            return Err(Error::BufferUsage { tensor: tensor.describe(param), missing: usage, usage: has });
        }
        let (offset, size) = (Format::PARAM.bytes(tensor.param.place.start), Format::PARAM.bytes(tensor.length));
        Ok(Source { buffer: buffer.clone(), offset, size })
    }

    /// Returns where the values in a file go. `ids` holds the id in the file for each parameter's number.
    fn value_targets(&self, checkpoint: &Checkpoint, ids: &HashMap<u32, u64>) -> Result<Vec<Target>, Error> {
        checkpoint.check_has_values(ids.values().copied())?;
        let mut targets = Vec::new();
        for (&param, &id) in ids {
            let tensor = self.registry.tensor(param).ok_or(Error::NoSuchParam)?;
            checkpoint.check_values(id, &tensor.shape)?;
            let Source { buffer, offset, size } = self.values(param, wgpu::BufferUsages::COPY_DST)?;
            targets.push(Target { buffer, offset, size, id, what: What::Values, start: 0 });
        }
        Ok(targets)
    }
}

/// A checkpoint whose tensors are being copied from the device.
struct Begun {
    dict: StateDict,
    decided: Decided,
    layout: Layout,
    readback: Readback,
}

impl Begun {
    /// Waits for the step counts and the loss scale, which come first in a file.
    async fn settle(mut self) -> Result<(Layout, Readback), Error> {
        self.decided.apply(&mut self.dict).await?;
        self.layout.set_steps(&self.dict);
        self.layout.set_grad_scaler(self.dict.grad_scaler.as_ref())?;
        Ok((self.layout, self.readback))
    }
}
