//! The numbers of a file's moments.

use crate::checkpoint::{Checkpoint, CheckpointError, names};
use crate::spoiled::{Impossible, Scan};
use crate::state_dict::MOMENTS;

/// Bytes looked at at once.
const PART: u64 = 256 << 10;

impl Checkpoint {
    /// Reads all moments once, part by part. What no run arrives at is refused; what is spoiled is kept for loading to refuse,
    /// so that somebody can look into the file.
    pub(super) fn verify_values(&mut self) -> Result<(), CheckpointError> {
        let mut part = Vec::new();
        for (id, entry) in &self.outline.state {
            for key in MOMENTS.into_iter().take(if entry.max_exp_avg_sq.is_some() { 3 } else { 2 }) {
                let located = self.moment(*id, key)?;
                let mut scan = Scan::new(key, entry.step);
                let mut done = 0;
                while done < located.size {
                    part.resize(PART.min(located.size - done) as usize, 0);
                    self.data.read(located.begin + done, &mut part)?;
                    scan.feed_bytes(&part).map_err(|Impossible { element, value, problem }| {
                        let name = names::state(self.names.get(id).map_or("", String::as_str), key);
                        CheckpointError::Value { name, problem, element, value }
                    })?;
                    done += part.len() as u64;
                }
                if let Some(spoiled) = scan.spoiled() {
                    self.spoiled.entry(*id).or_insert(spoiled);
                }
            }
        }
        Ok(())
    }
}
