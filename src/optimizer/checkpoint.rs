//! An optimizer's checkpoints, streamed between the GPU and a file.

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
    /// Saves the run to a file: the parameters' values, the optimizer's state, the loss scale. Submits the copies when it is
    /// called. The file appears when it is whole and on the disk: until then, whatever happens, the old file is there.
    ///
    /// ```no_run
    /// # async fn demo(adam: &mut wgpu_adam::WgpuAdam) -> Result<(), wgpu_adam::Error> {
    /// adam.save_checkpoint("run.safetensors").await?;
    /// // And in another process, with the same model:
    /// adam.load_checkpoint("run.safetensors").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// Streams tensor by tensor: the host holds no more of it than a few MiB and the
    /// [staging buffers](Self::set_staging_size). What is saved is the state at the call, and the future borrows nothing;
    /// when later steps have to wait is as for [`state_dict`](Self::state_dict). The file is written as
    /// `.NAME.NUMBERS.partial` beside its target, a long NAME cut short; one that a killed process leaves is removed by a
    /// save of the same name an hour later. Of a link, what it leads to is replaced; what is there and no file is refused.
    /// The future writes files while it is polled.
    ///
    /// # Errors
    /// As for [`state_dict`](Self::state_dict); parameters' buffers without `COPY_SRC`; whatever the system refuses; [`SpoiledState`](Error::SpoiledState) if moments
    /// are not finite, which torch would save: gradients were infinite or NaN, and no step was skipped for it
    /// ([`CheckpointContents::allow_nonfinite`] saves them). The file that is there stays in all of these cases but one: if
    /// only the folder cannot be flushed, as the message says, the new file is in its place, which a crash may undo.
    #[cfg(not(target_family = "wasm"))]
    pub fn save_checkpoint<P: AsRef<std::path::Path>>(
        &self,
        path: P,
    ) -> impl Future<Output = Result<(), Error>> + use<P> {
        self.save_checkpoint_with(path, &CheckpointContents::new())
    }

    /// As [`save_checkpoint`](Self::save_checkpoint), with what else is to be in the file, or with the optimizer's state
    /// alone.
    ///
    /// # Errors
    /// As for [`save_checkpoint`](Self::save_checkpoint); a tensor or an entry of metadata given under a name that is the optimizer's own, or that could not be read
    /// again.
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

    /// The bytes of the file that [`save_checkpoint_with`](Self::save_checkpoint_with) writes: for browsers, to be
    /// downloaded or stored. Takes as much host memory.
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

    /// Goes on with the run that a file holds: parameters' values, optimizer's state, loss scale. All of the file is verified
    /// before anything changes. Returns the checkpoint, for its metadata and other tensors.
    ///
    /// Streams as [`save_checkpoint`](Self::save_checkpoint). Matching and memory are as for
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

    /// As [`load_checkpoint`](Self::load_checkpoint), from a checkpoint that was opened before. Await the future to its end:
    /// dropped in between, it leaves a part of the run behind.
    ///
    /// Values of parameters are written behind all that was submitted before.
    ///
    /// # Errors
    /// As for [`load_state_dict`](Self::load_state_dict);
    /// [`NoParameters`](crate::CheckpointError::NoParameters) for a file with the optimizer's state alone; values of
    /// another shape than the parameter's, or whose buffer lacks `COPY_DST`. Nothing has changed then, unless the device was
    /// lost or the file was written to while buffers were filled.
    pub async fn load_from(&mut self, checkpoint: &Checkpoint) -> Result<(), Error> {
        self.load_from_with(checkpoint, &LoadOptions::new()).await
    }

    /// As [`load_from`](Self::load_from), with options: which entry belongs to which parameter, whether spoiled state is
    /// loaded, whether the optimizer's state is loaded alone.
    ///
    /// # Errors
    /// As for [`load_from`](Self::load_from).
    pub async fn load_from_with(&mut self, checkpoint: &Checkpoint, options: &LoadOptions) -> Result<(), Error> {
        // The moments were looked at when the checkpoint was opened.
        let loading = self.plan_loading(checkpoint.outline(), options.matching, |_, _, _| Ok(()))?;
        if !options.allow_nonfinite {
            self.check_spoiled(checkpoint, loading.ids())?;
        }
        let values = if options.optimizer_only { Vec::new() } else { self.value_targets(checkpoint, loading.ids())? };
        self.load_staged(loading, values, checkpoint).await
    }

    /// An error if one of these parameters would get spoiled state: the first by its id.
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

    /// Where a parameter's values lie, if its buffer may be used so.
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

    /// Where values in a file go, by the parameter's number and its id in the file.
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

/// A checkpoint whose tensors are on their way from the device.
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
