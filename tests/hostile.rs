//! Malformed checkpoints: each is refused with an error that names the problem, without a panic, and with memory of at
//! most a small multiple of the file's size.

#[macro_use]
#[path = "hostile/row.rs"]
mod row;
#[path = "hostile/framing.rs"]
mod framing;
#[path = "hostile/metadata.rs"]
mod metadata;
#[path = "support/parts.rs"]
mod parts;
#[path = "hostile/saved.rs"]
mod saved;
#[path = "hostile/scaler.rs"]
mod scaler;
#[path = "hostile/spoiled.rs"]
mod spoiled;
#[path = "hostile/state.rs"]
mod state;
#[path = "hostile/tensors.rs"]
mod tensors;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use parts::Parts;
use peak_alloc::PeakAlloc;
use wgpu_adam::Checkpoint;
use wgpu_adam::CheckpointError::{Header, Metadata, Missing, NoState, Tensor, Value};
use wgpu_adam::Error::{self, Checkpoint as C};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Memory is measured for the whole process.
static ALONE: Mutex<()> = Mutex::new(());

/// The memory that reading a file may use: a constant, plus a multiple of its bytes.
const MEMORY_AT_LEAST: usize = 1 << 20;
const MEMORY_PER_BYTE: usize = 64;

/// What is wrong, the change that makes a good file so, the kind of the error, a part of its message.
type Row = (&'static str, fn(&mut Parts), fn(&Error) -> bool, &'static str, &'static str);

/// Opens a file's bytes. Fails if that takes too much memory or panics.
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

#[test]
fn hostile_files_are_refused() {
    let _alone = ALONE.lock();
    let good = Parts::good();
    let opened = open(&good.bytes()).unwrap().expect("the good file");
    assert_eq!(opened.state_dict().unwrap(), parts::good_dict());
    assert_eq!(opened.tensors().count(), 9);

    let rows = [framing::rows(), tensors::rows(), state::rows(), metadata::rows(), scaler::rows()].concat();
    assert!(rows.len() >= 60, "{} rows", rows.len());
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

/// A file cut at any byte is refused.
fn every_truncation(good: &[u8]) {
    for length in 0..good.len() {
        let opened = open(&good[..length]).unwrap_or_else(|problem| panic!("cut to {length} bytes: {problem}"));
        assert!(opened.is_err(), "cut to {length} of {} bytes: accepted", good.len());
    }
}

/// With any bit flipped, a file is refused or has another content. Opening it neither panics nor takes much memory.
fn every_bit(good: &[u8]) {
    for bit in 0..good.len() * 8 {
        let mut bytes = good.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(checkpoint) = open(&bytes).unwrap_or_else(|problem| panic!("bit {bit}: {problem}")) {
            checkpoint.state_dict().unwrap_or_else(|error| panic!("bit {bit}: {error}"));
        }
    }
}

/// The fuzzer's corpus, and deterministic mutations of it, for machines where the fuzzer cannot run.
#[test]
fn the_corpus_and_its_mutations() {
    let _alone = ALONE.lock();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/checkpoint");
    let mut corpus: Vec<Vec<u8>> = vec![Parts::good().bytes()];
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    corpus.extend(paths.iter().map(|path| std::fs::read(path).unwrap()));
    assert!(corpus.len() >= 3, "{folder} is empty");
    let mut random = Random(1);
    for number in 0..20_000 {
        let mut bytes = corpus[random.below(corpus.len())].clone();
        if number >= corpus.len() {
            let other = &corpus[random.below(corpus.len())];
            (0..=random.below(4)).for_each(|_| mutate(&mut bytes, other, &mut random));
        }
        let opened = catch_unwind(AssertUnwindSafe(|| Checkpoint::from_bytes(bytes.clone())));
        let opened =
            opened.unwrap_or_else(|_| panic!("mutation {number} panicked: {:?}", String::from_utf8_lossy(&bytes)));
        if let Ok(checkpoint) = opened {
            spoiled::goes_round(&checkpoint).unwrap_or_else(|problem| panic!("mutation {number}: {problem}"));
        }
    }
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end.max(1)
    }
}

/// One mutation: a bit, a byte of JSON, a cut, a repetition, a part of another file, a longer or shorter length.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    if bytes.is_empty() {
        return bytes.extend(other);
    }
    let (at, length) = (random.below(bytes.len()), random.below(40));
    let end = (at + length).min(bytes.len());
    match random.below(7) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = b"\"{}[],:0123456789-.eE\\ntruefals"[random.below(30)],
        2 => drop(bytes.drain(at..end)),
        3 => {
            let part = bytes[at..end].to_vec();
            drop(bytes.splice(at..at, part));
        }
        4 => {
            let from = random.below(other.len());
            let part = other[from..(from + length).min(other.len())].to_vec();
            drop(bytes.splice(at..end, part));
        }
        5 => bytes.truncate(at),
        _ => {
            // A header of another length, right or wrong.
            let header = u64::from_le_bytes(std::array::from_fn(|i| bytes.get(i).copied().unwrap_or(0)));
            let length = header.wrapping_add(random.below(17) as u64).wrapping_sub(8).to_le_bytes();
            length.iter().zip(bytes).for_each(|(new, old)| *old = *new);
        }
    }
}
