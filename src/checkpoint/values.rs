//! The numbers of a file's moments: finite, squares not negative, nothing before the first step.

use crate::checkpoint::{Checkpoint, CheckpointError, names};
use crate::state_dict::MOMENTS;

/// Bytes looked at at once.
const PART: u64 = 256 << 10;

impl Checkpoint {
    /// Reads all moments once, part by part.
    pub(super) fn verify_values(&self) -> Result<(), CheckpointError> {
        let mut part = Vec::new();
        for (id, entry) in &self.outline.state {
            for key in MOMENTS.into_iter().take(if entry.max_exp_avg_sq.is_some() { 3 } else { 2 }) {
                let located = self.moment(*id, key)?;
                let mut done = 0;
                while done < located.size {
                    part.resize(PART.min(located.size - done) as usize, 0);
                    self.data.read(located.begin + done, &mut part)?;
                    if let Some((index, value, problem)) = first_bad(&part, key, entry.step) {
                        let name = names::state(self.names.get(id).map_or("", String::as_str), key);
                        return Err(CheckpointError::Value { name, problem, element: done / 4 + index, value });
                    }
                    done += part.len() as u64;
                }
            }
        }
        Ok(())
    }
}

/// The first number that cannot be: its index, itself, and what is wrong with it.
pub(super) fn first_bad(bytes: &[u8], key: &str, step: u64) -> Option<(u64, f32, &'static str)> {
    let problem = |value: f32| {
        if !value.is_finite() {
            Some("is not finite")
        } else if step == 0 && value != 0.0 {
            Some("has taken no step and is not zero")
        } else if key != "exp_avg" && value < 0.0 {
            Some("is negative")
        } else {
            None
        }
    };
    let words = bytes.chunks_exact(4).map(|word| f32::from_le_bytes(word.try_into().unwrap_or_default()));
    (0..).zip(words).find_map(|(index, value)| Some((index, value, problem(value)?)))
}
