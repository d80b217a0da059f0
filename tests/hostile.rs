//! Checkpoints that are not what they should be: each is refused with an error that names what is wrong, without a panic
//! and without more memory than a small multiple of the file's size.

#[macro_use]
#[path = "hostile/row.rs"]
mod row;
#[path = "hostile/framing.rs"]
mod framing;
#[path = "hostile/metadata.rs"]
mod metadata;
#[path = "support/parts.rs"]
mod parts;
#[path = "hostile/state.rs"]
mod state;
#[path = "hostile/tensors.rs"]
mod tensors;

use std::panic::{AssertUnwindSafe, catch_unwind};

use parts::Parts;
use peak_alloc::PeakAlloc;
use wgpu_adam::Checkpoint;
use wgpu_adam::CheckpointError::{Header, Metadata, Missing, Name, Tensor, Value};
use wgpu_adam::Error::{self, Checkpoint as C};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What a file may cost: some for every file, and so much for each of its bytes.
const MEMORY_AT_LEAST: usize = 1 << 20;
const MEMORY_PER_BYTE: usize = 64;

/// What is wrong, how a good file is made so, the kind of the error, a part of its message.
type Row = (&'static str, fn(&mut Parts), fn(&Error) -> bool, &'static str, &'static str);

/// Opens a file's bytes; an error unless it costs little memory and does not panic.
fn open(bytes: &[u8]) -> Result<Result<Checkpoint, Error>, String> {
    let bytes: std::sync::Arc<[u8]> = bytes.into();
    let allowed = MEMORY_AT_LEAST + MEMORY_PER_BYTE * bytes.len();
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let opened = catch_unwind(AssertUnwindSafe(|| Checkpoint::from_bytes(bytes))).map_err(|_| "it panicked")?;
    let used = MEMORY.peak_usage().saturating_sub(before);
    if used > allowed {
        return Err(format!("{used} bytes of memory, where {allowed} are allowed"));
    }
    Ok(opened)
}

/// One test, so that the memory measured is this one's.
#[test]
fn hostile_files_are_refused() {
    let good = Parts::good();
    let opened = open(&good.bytes()).unwrap().expect("the good file");
    assert_eq!(opened.state_dict().unwrap(), parts::good_dict());
    assert_eq!(opened.tensors().count(), 9);

    let rows = [framing::rows(), tensors::rows(), state::rows(), metadata::rows()].concat();
    assert!(rows.len() >= 40, "{} rows", rows.len());
    let mut failures = Vec::new();
    for (name, change, is_kind, kind, text) in rows {
        let mut file = Parts::good();
        change(&mut file);
        match open(&file.bytes()) {
            Ok(Err(error)) if is_kind(&error) && error.to_string().contains(text) => {}
            Ok(Err(error)) => {
                failures.push(format!("{name}: want {kind}, \"{text}\"\n    got {error:?}\n    \"{error}\""));
            }
            Ok(Ok(_)) => failures.push(format!("{name}: it was accepted")),
            Err(problem) => failures.push(format!("{name}: {problem}")),
        }
    }
    assert!(failures.is_empty(), "{} failures\n  {}", failures.len(), failures.join("\n  "));

    every_truncation(&good.bytes());
    every_bit(&good.bytes());
}

/// Cut anywhere, it is refused.
fn every_truncation(good: &[u8]) {
    for length in 0..good.len() {
        let opened = open(&good[..length]).unwrap_or_else(|problem| panic!("cut to {length} bytes: {problem}"));
        assert!(opened.is_err(), "cut to {length} of {} bytes: accepted", good.len());
    }
}

/// With any bit turned, it is refused or says something else; it neither panics nor takes memory.
fn every_bit(good: &[u8]) {
    for bit in 0..good.len() * 8 {
        let mut bytes = good.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(checkpoint) = open(&bytes).unwrap_or_else(|problem| panic!("bit {bit}: {problem}")) {
            checkpoint.state_dict().unwrap_or_else(|error| panic!("bit {bit}: {error}"));
        }
    }
}
