//! A file that appears whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::checkpoint::CheckpointError;

/// The end of the name of a file that is being written.
const PARTIAL: &str = ".partial";
/// A file of that name that nobody has written to for so long was left by a run that was killed.
const ABANDONED: Duration = Duration::from_secs(3600);
/// Bytes that are collected before they are written.
const BUFFER: usize = 1 << 20;

static FILES: AtomicU64 = AtomicU64::new(0);

/// A new file beside its target, in whose place it comes by [`commit`](Self::commit). Dropped before that, it is removed.
/// Whatever happens meanwhile, the target is whole: the old file or the new one.
#[derive(Debug)]
pub(crate) struct AtomicFile {
    /// Taken when the file is closed.
    file: Option<BufWriter<File>>,
    partial: PathBuf,
    target: PathBuf,
}

impl AtomicFile {
    /// Creates the file. Of a link, what it leads to is replaced.
    pub(crate) fn create(path: &Path) -> Result<Self, CheckpointError> {
        let failed = |error: &io::Error| CheckpointError::io("creating", &path.display().to_string(), error);
        let target = match fs::canonicalize(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&error)),
            target => target.unwrap_or_else(|_| path.to_owned()),
        };
        let no_name = || failed(&io::Error::new(io::ErrorKind::InvalidInput, "no file name"));
        let name = target.file_name().ok_or_else(no_name)?;
        if target.is_dir() {
            return Err(failed(&io::Error::new(io::ErrorKind::IsADirectory, "it is a folder")));
        }
        sweep(folder(&target), name);
        // No other process, and no other save of this one, has this name.
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let mut own = prefix(name);
        own.push(format!("{}-{number}{PARTIAL}", std::process::id()));
        let partial = folder(&target).join(own);
        let file = OpenOptions::new().write(true).create_new(true).open(&partial).map_err(|error| failed(&error))?;
        if let Ok(old) = fs::metadata(&target) {
            // As private as the file that it replaces.
            file.set_permissions(old.permissions()).map_err(|error| failed(&error))?;
        }
        Ok(Self { file: Some(BufWriter::with_capacity(BUFFER, file)), partial, target })
    }

    /// Flushes to the disk, takes the target's place, and makes sure that the folder says so after a crash too.
    pub(crate) fn commit(mut self) -> Result<(), CheckpointError> {
        let shown = self.target.display().to_string();
        let committed = self.replace();
        committed.map_err(|error| CheckpointError::io("replacing", &shown, &error))
    }

    fn replace(&mut self) -> io::Result<()> {
        let Some(file) = self.file.take() else { return Ok(()) };
        let file = file.into_inner().map_err(io::IntoInnerError::into_error).inspect_err(|_| self.discard())?;
        file.sync_all().inspect_err(|_| self.discard())?;
        drop(file);
        fs::rename(&self.partial, &self.target).inspect_err(|_| self.discard())?;
        // Only Unix opens folders; elsewhere renaming is what there is.
        #[cfg(unix)]
        File::open(folder(&self.target))?.sync_all()?;
        Ok(())
    }

    /// Removes the file; if that fails too, it stays, and the next save after an hour removes it.
    fn discard(&self) {
        let _ = fs::remove_file(&self.partial);
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            // Without writing what is collected.
            drop(file.into_parts());
            self.discard();
        }
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) => file.write(bytes),
            None => Err(io::Error::other("the file is closed")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

fn folder(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// How the names of files begin that are to become this one.
fn prefix(name: &std::ffi::OsStr) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    prefix
}

/// Removes what killed runs left of earlier saves of this file. What cannot be removed is left.
fn sweep(folder: &Path, name: &std::ffi::OsStr) {
    let prefix = prefix(name);
    let ours = |name: &std::ffi::OsStr| {
        let (name, prefix) = (name.as_encoded_bytes(), prefix.as_encoded_bytes());
        let middle = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(PARTIAL.as_bytes()));
        middle.is_some_and(|middle| middle.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-'))
    };
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|entry| ours(&entry.file_name())) {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let age = modified.ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
        if age.is_some_and(|age| age > ABANDONED) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
