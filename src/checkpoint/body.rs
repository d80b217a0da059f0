//! Writes a file part by part, behind its header.

use std::collections::VecDeque;
use std::io::Write;

use crate::checkpoint::data::Data;
use crate::checkpoint::names;
use crate::error::Error;
use crate::error::checkpoint::CheckpointError;
use crate::state_dict::spoiled::{Impossible, NOT_SAVED, Scan};

/// A file whose header is written.
#[derive(Debug)]
pub(crate) struct Body<W> {
    writer: W,
    path: String,
    rest: VecDeque<Segment>,
}

/// A tensor's bytes.
#[derive(Debug)]
pub(crate) enum Segment {
    Bytes(Vec<u8>),
    /// In another checkpoint: the place of the first byte, and the number of bytes.
    Kept(Data, u64, u64),
    Fed(Fed),
}

/// Bytes that the caller feeds.
#[derive(Debug)]
pub(crate) struct Fed {
    /// The tensor's name in the file.
    pub name: String,
    /// Whether its parameter has a name, or only an id.
    pub named: bool,
    /// Checks a moment's numbers. `None` for parameters' values, which may be any numbers.
    pub scan: Option<Scan>,
    /// Whether spoiled moments are written.
    pub allow_nonfinite: bool,
    /// The number of bytes fed so far.
    pub done: u64,
    pub size: u64,
}

/// The number of bytes copied at a time from another checkpoint.
const COPY: u64 = 256 << 10;

impl<W: Write> Body<W> {
    /// `path` is used in messages.
    pub(crate) fn new(writer: W, path: &str, segments: impl Iterator<Item = Segment>) -> Self {
        Self { writer, path: path.into(), rest: segments.collect() }
    }

    /// Writes the next bytes of the parts. They may be cut between any two numbers. Moments that loading would refuse
    /// are refused here, so that they never replace good ones. Spoiled moments are refused behind their last bytes,
    /// when all spoiled elements are counted.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            self.write_own()?;
            let Some(Segment::Fed(fed)) = self.rest.front_mut() else {
                return Err(CheckpointError::header("more bytes were given than the tensors have").into());
            };
            let left = usize::try_from(fed.size - fed.done).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(bytes.len().min(left));
            fed.done += now.len() as u64;
            fed.check(now)?;
            self.write(now)?;
            bytes = later;
        }
        Ok(())
    }

    /// Returns the writer, behind the last tensor.
    pub(crate) fn finish(mut self) -> Result<W, CheckpointError> {
        self.write_own()?;
        if self.rest.is_empty() {
            return Ok(self.writer);
        }
        Err(CheckpointError::header("fewer bytes were given than the tensors have"))
    }

    /// Writes everything that comes before the next bytes to be fed.
    fn write_own(&mut self) -> Result<(), CheckpointError> {
        while let Some(segment) = self.rest.pop_front() {
            match segment {
                Segment::Bytes(bytes) => self.write(&bytes)?,
                Segment::Kept(data, begin, size) => {
                    let mut done = 0;
                    let mut part = vec![0; COPY.min(size) as usize];
                    while done < size {
                        part.truncate((size - done).min(COPY) as usize);
                        data.read(begin + done, &mut part)?;
                        self.write(&part)?;
                        done += part.len() as u64;
                    }
                }
                Segment::Fed(fed) if fed.done == fed.size => {}
                Segment::Fed(fed) => {
                    self.rest.push_front(Segment::Fed(fed));
                    break;
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), CheckpointError> {
        self.writer.write_all(bytes).map_err(|error| CheckpointError::io("writing", &self.path, &error))
    }
}

impl Fed {
    /// Checks that loading would accept the next bytes, and the moment if it ends with them.
    fn check(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let Some(scan) = &mut self.scan else { return Ok(()) };
        scan.feed_bytes(bytes).map_err(|Impossible { element, value, problem }| CheckpointError::NotSaved {
            name: self.name.clone(),
            problem,
            element,
            value,
        })?;
        let spoiled = scan.spoiled().filter(|_| self.done == self.size && !self.allow_nonfinite);
        spoiled.map_or(Ok(()), |spoiled| Err(spoiled.error(names::describe(&self.name, self.named), NOT_SAVED)))
    }
}
