//! A file that appears whole or not at all.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::error::checkpoint::CheckpointError;

/// The end of a file's name while the file is being written.
const PARTIAL: &str = ".partial";
/// A partial file that was not written to for this long was left by a run that was killed.
const ABANDONED: Duration = Duration::from_secs(3600);
/// The number of bytes that are collected before they are written.
const BUFFER: usize = 1 << 20;
/// The most bytes of the target's name in the name of the partial file: names of files have 255 bytes at most.
const NAME: usize = 200;
/// The most links that are followed in a row, the same as in Linux.
const LINKS: usize = 40;

/// The failing operation in an error that comes after the new file has taken its place.
const FLUSHING: &str = "flushing to the disk the folder of the new";

static FILES: AtomicU64 = AtomicU64::new(0);

/// A new file beside its target. [`commit`](Self::commit) puts it in the target's place; if it is dropped before that,
/// it is removed. Whatever happens, the target is whole: either the old file or the new one.
#[derive(Debug)]
pub(crate) struct AtomicFile {
    /// Taken when the file is closed.
    file: Option<BufWriter<File>>,
    partial: PathBuf,
    target: PathBuf,
}

impl AtomicFile {
    /// Creates the file. If the path is a link, the file replaces what the link leads to, whether that exists or not.
    pub(crate) fn create(path: &Path) -> Result<Self, CheckpointError> {
        Self::beside(path).map_err(|error| CheckpointError::io("creating", &path.display().to_string(), &error))
    }

    fn beside(path: &Path) -> io::Result<Self> {
        let target = followed(path)?;
        let name = target.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no file name"))?;
        let old = fs::metadata(&target).ok();
        if target.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"));
        }
        if old.as_ref().is_some_and(|old| !old.is_file()) {
            let problem = "it is a device, a pipe or a socket, whose place a file would take";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        sweep(folder(&target), name);
        let (file, partial) = create_new(folder(&target), name)?;
        let mut own = Self { file: Some(BufWriter::with_capacity(BUFFER, file)), partial, target };
        if let Some(old) = old {
            own.keep_permissions(&old)?;
        }
        Ok(own)
    }

    /// Makes the file as private as the file that it replaces. A file system without permissions treats all files
    /// alike, so it is no error there.
    fn keep_permissions(&mut self, old: &fs::Metadata) -> io::Result<()> {
        let Some(file) = self.file.as_ref().map(BufWriter::get_ref) else { return Ok(()) };
        if file.metadata()?.permissions() == old.permissions() {
            return Ok(());
        }
        match file.set_permissions(old.permissions()) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
            set => set,
        }
    }

    /// Flushes the file to disk, puts it in the target's place, and flushes the folder, so that the change survives a
    /// crash.
    pub(crate) fn commit(mut self) -> Result<(), CheckpointError> {
        let shown = self.target.display().to_string();
        self.replace().map_err(|error| CheckpointError::io("replacing", &shown, &error))?;
        flush_folder(&self.target).map_err(|error| CheckpointError::io(FLUSHING, &shown, &error))
    }

    fn replace(&mut self) -> io::Result<()> {
        let Some(file) = self.file.take() else { return Ok(()) };
        let file = file.into_inner().map_err(io::IntoInnerError::into_error).inspect_err(|_| self.discard())?;
        file.sync_all().inspect_err(|_| self.discard())?;
        drop(file);
        fs::rename(&self.partial, &self.target).inspect_err(|_| self.discard())
    }

    /// Removes the file. If that fails too, the file stays, and the next save after an hour removes it.
    fn discard(&self) {
        let _ = fs::remove_file(&self.partial);
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            // The collected bytes are not written.
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

/// The file that a path leads to, through all links. It need not exist.
fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut target = path.to_owned();
    for _ in 0..LINKS {
        match fs::canonicalize(&target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        match fs::read_link(&target) {
            Ok(next) => target = folder(&target).join(next),
            Err(_) => return Ok(target),
        }
    }
    Err(io::Error::other("too many links"))
}

/// Creates a file with a new name: no other process, no other save of this process and no file left here has it.
fn create_new(folder: &Path, name: &OsStr) -> io::Result<(File, PathBuf)> {
    loop {
        let mut own = prefix(name);
        own.push(format!("{}-{}{PARTIAL}", std::process::id(), FILES.fetch_add(1, Ordering::Relaxed)));
        let partial = folder.join(own);
        match OpenOptions::new().write(true).create_new(true).open(&partial) {
            // In a container every run may be process 1, and an earlier run may have left this name.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            file => return Ok((file?, partial)),
        }
    }
}

fn flush_folder(file: &Path) -> io::Result<()> {
    // Only Unix opens folders. Elsewhere nothing more can be done than to rename.
    if cfg!(unix) { File::open(folder(file))?.sync_all() } else { Ok(()) }
}

/// The beginning of the names of this target's partial files.
fn prefix(name: &OsStr) -> OsString {
    let mut prefix = OsString::from(".");
    if name.len() <= NAME {
        prefix.push(name);
    } else {
        let whole = name.to_string_lossy();
        let end = (0..=NAME).rev().find(|end| whole.is_char_boundary(*end));
        prefix.push(end.and_then(|end| whole.get(..end)).unwrap_or_default());
    }
    prefix.push(".");
    prefix
}

/// Removes what killed runs left of earlier saves of this file. Ignores files that cannot be removed.
fn sweep(folder: &Path, name: &OsStr) {
    let prefix = prefix(name);
    let ours = |name: &OsStr| {
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
