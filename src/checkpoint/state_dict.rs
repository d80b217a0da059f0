//! A state dict alone, as the bytes of a file.

use std::sync::Arc;

use super::Checkpoint;
use super::contents::CheckpointContents;
use super::layout::Layout;
use crate::error::Error;
use crate::state_dict::StateDict;

impl StateDict {
    /// Returns the dict as the bytes of a checkpoint file, with the other contents. Equal contents give equal bytes.
    ///
    /// # Errors
    /// [`SpoiledState`](Error::SpoiledState) for moments that are not finite, unless the contents
    /// [allow](CheckpointContents::allow_nonfinite) them. An error for whatever could not be read again: options out of
    /// range, negative squares, a tensor that cannot be in a file. An error for contents that ask for parameters'
    /// values, which a dict does not have.
    #[doc(alias = "serialize")]
    pub fn to_safetensors(&self, contents: &CheckpointContents) -> Result<Vec<u8>, Error> {
        let layout = Layout::new(self, contents, None)?;
        let parts = layout.parts();
        let mut body = layout.begin(Vec::new(), "")?;
        for part in parts {
            let moment = part.plane.and_then(|plane| self.state.get(&part.id)?.plane(plane));
            body.feed(moment.map_or(&[], |moment| bytemuck::cast_slice(moment)))?;
        }
        Ok(body.finish()?)
    }

    /// Reads the optimizer's state from the bytes of a checkpoint file.
    ///
    /// # Errors
    /// As for [`Checkpoint::open`].
    pub fn from_safetensors(bytes: impl Into<Arc<[u8]>>) -> Result<Self, Error> {
        Checkpoint::from_bytes(bytes)?.state_dict()
    }
}
