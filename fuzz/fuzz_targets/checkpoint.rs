//! Bytes that claim to be a checkpoint: refused, or what they hold is whole and comes back as it was.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wgpu_adam::{Checkpoint, CheckpointContents, StateDict};

fuzz_target!(|bytes: &[u8]| {
    let Ok(checkpoint) = Checkpoint::from_bytes(bytes) else { return };
    let dict = checkpoint.state_dict().expect("the moments of a verified checkpoint");
    let contents = CheckpointContents::new().keep(&checkpoint);
    let written = dict.to_safetensors(&contents).expect("a dict that was read");
    assert_eq!(StateDict::from_safetensors(written).expect("a file that was written"), dict);
    let _ = format!("{dict:?}");
});
