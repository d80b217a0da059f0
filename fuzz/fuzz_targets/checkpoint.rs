//! Reads arbitrary bytes as a checkpoint. Either they are refused, or they are read completely and written back
//! unchanged; spoiled state only with permission.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wgpu_adam::{Checkpoint, CheckpointContents, Error, StateDict};

fuzz_target!(|bytes: &[u8]| {
    let Ok(checkpoint) = Checkpoint::from_bytes(bytes) else { return };
    let dict = checkpoint.state_dict().expect("the moments of a verified checkpoint");
    let contents = CheckpointContents::optimizer_only().keep(&checkpoint);
    let refused = dict.to_safetensors(&contents);
    match is_spoiled(&dict) {
        true => assert!(matches!(refused, Err(Error::SpoiledState { .. })), "spoiled state was written"),
        false => assert!(refused.is_ok(), "a dict that was read"),
    }
    let contents = contents.allow_nonfinite();
    let written = dict.to_safetensors(&contents).expect("a dict that was read, whatever its moments");
    let read = StateDict::from_safetensors(written).expect("a file that was written");
    assert_eq!(bits(&read), bits(&dict));
    let _ = format!("{dict:?}");
});

fn is_spoiled(dict: &StateDict) -> bool {
    dict.state.values().any(|entry| {
        let squares = entry.exp_avg_sq.iter().chain(entry.max_exp_avg_sq.iter().flatten());
        !entry.exp_avg.iter().all(|value| value.is_finite()) || squares.into_iter().any(|value| value.is_nan())
    })
}

/// A dict without its moments, and the bits of the moments, because NaN does not equal itself.
fn bits(dict: &StateDict) -> (StateDict, Vec<Vec<u32>>) {
    let (mut rest, mut all) = (dict.clone(), Vec::new());
    for entry in rest.state.values_mut() {
        let moments = [Some(&mut entry.exp_avg), Some(&mut entry.exp_avg_sq), entry.max_exp_avg_sq.as_mut()];
        let taken = moments.into_iter().flatten().map(std::mem::take);
        all.extend(taken.map(|moment| moment.into_iter().map(f32::to_bits).collect()));
    }
    (rest, all)
}
