//! A file that appears whole or not at all.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::error::checkpoint::CheckpointError;

/// The end of the name of a file that is being written.
const PARTIAL: &str = ".partial";
/// A file of that name that nobody has written to for so long was left by a run that was killed.
const ABANDONED: Duration = Duration::from_secs(3600);
/// Bytes that are collected before they are written.
const BUFFER: usize = 1 << 20;
/// Of the target's name, so many bytes go into that of the file beside it: names of files have 255 at most.
const NAME: usize = 200;
/// Links that are followed one behind the other, as Linux does.
const LINKS: usize = 40;

/// What fails where the new file is in its place already.
const FLUSHING: &str = "flushing to the disk the folder of the new";

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
    /// Creates the file. Of a link, what it leads to is replaced, whether that is there or not.
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

    /// As private as the file that it replaces. Where there are no such permissions, they are those of all files there.
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

    /// Flushes to the disk, takes the target's place, and makes sure that the folder says so after a crash too.
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

/// The file that a path leads to, which need not be there: of links, what the last of them leads to.
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

/// A file of a name that no other process, no other save of this one, and nothing that was left here has.
fn create_new(folder: &Path, name: &OsStr) -> io::Result<(File, PathBuf)> {
    loop {
        let mut own = prefix(name);
        own.push(format!("{}-{}{PARTIAL}", std::process::id(), FILES.fetch_add(1, Ordering::Relaxed)));
        let partial = folder.join(own);
        match OpenOptions::new().write(true).create_new(true).open(&partial) {
            // In a container, every run may be process 1.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            file => return Ok((file?, partial)),
        }
    }
}

fn flush_folder(file: &Path) -> io::Result<()> {
    // Only Unix opens folders; elsewhere renaming is what there is.
    if cfg!(unix) { File::open(folder(file))?.sync_all() } else { Ok(()) }
}

/// How the names of files begin that are to become this one.
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

/// Removes what killed runs left of earlier saves of this file. What cannot be removed is left.
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
