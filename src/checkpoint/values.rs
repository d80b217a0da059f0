//! The numbers in a file: those of moments, which are verified when the file is opened, and those of parameters.

use crate::checkpoint::dtype::Dtype;
use crate::checkpoint::{Checkpoint, names};
use crate::error::Error;
use crate::error::checkpoint::CheckpointError;
use crate::state_dict::spoiled::{Impossible, Scan, Spoiled};
use crate::transfer::upload::{Bytes, What};

/// The number of bytes checked at a time.
const PART: u64 = 256 << 10;

impl Checkpoint {
    /// Reads all moments once, part by part. Refuses impossible numbers. Notes spoiled ones for loading to refuse, so
    /// that the file can be opened and examined.
    pub(super) fn verify_values(&mut self) -> Result<(), CheckpointError> {
        let mut part = Vec::new();
        for (id, entry) in &self.outline.state {
            for plane in entry.planes().iter() {
                let located = self.moment(*id, plane)?;
                let mut scan = Scan::new(plane, entry.step);
                let mut done = 0;
                while done < located.size {
                    part.resize(PART.min(located.size - done) as usize, 0);
                    self.data.read(located.begin + done, &mut part)?;
                    scan.feed_bytes(&part).map_err(|Impossible { element, value, problem }| {
                        let name = names::state(self.names.get(id).map_or("", String::as_str), plane.key());
                        CheckpointError::Value { name, problem, element, value }
                    })?;
                    done += part.len() as u64;
                }
                if let Some(spoiled) = scan.spoiled() {
                    self.spoiled.entry(*id).or_insert(spoiled);
                }
            }
        }
        Ok(())
    }

    /// Returns the first spoiled moment of a parameter, if it has one.
    pub(crate) fn spoiled(&self, id: u64) -> Option<&Spoiled> {
        self.spoiled.get(&id)
    }

    /// Checks that the file has the values of at least one of these parameters.
    pub(crate) fn check_has_values(&self, mut ids: impl ExactSizeIterator<Item = u64>) -> Result<(), CheckpointError> {
        let has_values = ids.len() == 0 || ids.any(|id| self.header.tensors.contains_key(&self.model_name(id)));
        if has_values { Ok(()) } else { Err(CheckpointError::NoParameters) }
    }

    /// Checks that the file has the values of a parameter of this shape.
    pub(crate) fn check_values(&self, id: u64, shape: &[usize]) -> Result<(), CheckpointError> {
        let name = self.model_name(id);
        let missing = CheckpointError::Missing { name: name.clone(), reason: "and the parameters' values are wanted" };
        let located = self.header.tensors.get(&name).ok_or(missing)?;
        if located.dtype != Dtype::F32 || located.shape != shape {
            let problem =
                format!("is {:?} of shape {:?} instead of F32 of shape {shape:?}", located.dtype, located.shape);
            return Err(CheckpointError::tensor(&name, problem));
        }
        Ok(())
    }

    fn model_name(&self, id: u64) -> String {
        names::model(self.names.get(&id).map_or("", String::as_str))
    }
}

impl Bytes for Checkpoint {
    fn read(&self, id: u64, what: What, start: u64, into: &mut [u8]) -> Result<(), Error> {
        let located = match what {
            What::State(plane) => self.moment(id, plane)?,
            What::Values => self.located(&self.model_name(id))?,
        };
        Ok(self.data.read(located.begin + start, into)?)
    }
}
