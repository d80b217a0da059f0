//! The bytes of a checkpoint: an open file, or bytes in memory.

use std::sync::Arc;

use crate::error::checkpoint::CheckpointError;

/// Bytes that are read in parts. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Data {
    bytes: Bytes,
    len: u64,
}

#[derive(Clone, Debug)]
enum Bytes {
    Memory(Arc<[u8]>),
    #[cfg(not(target_family = "wasm"))]
    File(Arc<File>),
}

/// An open file. If another file takes its place in the folder, this one is still read.
#[cfg(not(target_family = "wasm"))]
#[derive(Debug)]
struct File {
    path: String,
    /// Locked, because seeking and reading are two calls.
    file: std::sync::Mutex<std::fs::File>,
}

impl Data {
    pub(crate) fn memory(bytes: Arc<[u8]>) -> Self {
        Self { len: bytes.len() as u64, bytes: Bytes::Memory(bytes) }
    }

    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn open(path: &std::path::Path) -> Result<Self, CheckpointError> {
        let shown = path.display().to_string();
        let failed = |error: &std::io::Error| CheckpointError::io("opening", &shown, error);
        let check = |metadata: std::io::Result<std::fs::Metadata>| {
            let metadata = metadata.map_err(|error| failed(&error))?;
            let no_file = || CheckpointError::header(format!("{shown} is no file"));
            if metadata.is_file() { Ok(metadata.len()) } else { Err(no_file()) }
        };
        // Checked before opening, because opening a pipe would wait for a writer.
        check(std::fs::metadata(path))?;
        let file = std::fs::File::open(path).map_err(|error| failed(&error))?;
        let len = check(file.metadata())?;
        let file = Arc::new(File { path: shown.clone(), file: std::sync::Mutex::new(file) });
        Ok(Self { bytes: Bytes::File(file), len })
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Fills `into` with the bytes from `start` on.
    pub(crate) fn read(&self, start: u64, into: &mut [u8]) -> Result<(), CheckpointError> {
        match &self.bytes {
            Bytes::Memory(bytes) => {
                let range =
                    usize::try_from(start).ok().and_then(|start| bytes.get(start..start.checked_add(into.len())?));
                into.copy_from_slice(range.ok_or_else(|| CheckpointError::header("it ends too early"))?);
                Ok(())
            }
            #[cfg(not(target_family = "wasm"))]
            Bytes::File(file) => {
                use std::io::{Read, Seek, SeekFrom};
                let mut open = file.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let read = open.seek(SeekFrom::Start(start)).and_then(|_| open.read_exact(into));
                read.map_err(|error| CheckpointError::io("reading", &file.path, &error))
            }
        }
    }
}
