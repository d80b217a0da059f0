//! Recognizes by their first bytes files that are not checkpoints, for users who mistake them for checkpoints.

use crate::checkpoint::data::Data;
use crate::error::checkpoint::CheckpointError;

/// First bytes, and what kind of file begins with them.
const KINDS: [(&[u8], &str); 9] = [
    (b"PK\x03\x04", "it is a zip archive, as torch.save writes them (.pt, .pth, .bin): {torch}"),
    (b"\x80\x02", "it is a Python pickle, as torch.save wrote them before torch 1.6 (.pt, .pth): {torch}"),
    (b"\x80\x03", "it is a Python pickle, as torch.save writes them if asked to (.pt, .pth): {torch}"),
    (b"\x80\x04", "it is a Python pickle, as torch.save writes them if asked to (.pt, .pth): {torch}"),
    (b"\x80\x05", "it is a Python pickle, as torch.save writes them if asked to (.pt, .pth): {torch}"),
    (b"\x1f\x8b", "it is compressed with gzip: unpack it first, with gunzip"),
    (b"\x28\xb5\x2f\xfd", "it is compressed with zstd: unpack it first, with unzstd"),
    (b"\x89HDF\r\n\x1a\n", "it is an HDF5 file, as Keras writes them, whose state of an optimizer cannot be read here"),
    (
        b"version https://git-lfs",
        "it is a Git LFS pointer, a few lines in place of the file: git lfs pull fetches that",
    ),
];

const TORCH: &str = "convert it with tools/torch_checkpoint.py of this crate's repository, which makes a .safetensors file of it \
    and back";

/// How many bytes of a file of unknown kind are shown.
const SHOWN: usize = 8;

/// The error for a file that has no valid header. If its first bytes are known, the error says what the file is;
/// otherwise it is the given error.
pub(super) fn explained(data: &Data, error: CheckpointError) -> CheckpointError {
    if !matches!(error, CheckpointError::Header { .. }) {
        return error;
    }
    let mut first = vec![0; data.len().min(32) as usize];
    if data.read(0, &mut first).is_err() {
        return error;
    }
    let kind = KINDS.into_iter().find(|(magic, _)| first.starts_with(magic));
    let Some((_, text)) = kind else { return error };
    CheckpointError::header(match text.strip_suffix("{torch}") {
        Some(text) => format!("{text}{TORCH}"),
        None => text.to_owned(),
    })
}

/// The error for a length that no header has. `most` is the longest.
pub(super) fn no_length(length: [u8; SHOWN], most: u64, file: u64) -> CheckpointError {
    let (shown, length) = (length.escape_ascii(), u64::from_le_bytes(length));
    CheckpointError::header(format!(
        "it is no safetensors file, or is damaged: such a file begins with the length of its header, this one with the bytes \
         \"{shown}\"; as a length, it claims a header of {length} bytes in a file of {file}, and {most} are the most"
    ))
}
