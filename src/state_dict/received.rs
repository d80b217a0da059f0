//! Puts what comes back from the device into a state dict.

use super::StateDict;
use crate::error::Error;
use crate::options::grad_scaler::{GradScalerState, Words};
use crate::options::gradient_control::LossScale;
use crate::transfer::readback::{Readback, STATE};

/// What only the device knows, on its way to the host: the loss scale, and how many recorded steps were skipped.
pub(crate) struct Decided {
    /// The number of the parameter with each id.
    numbers: Vec<u32>,
    loss_scale: LossScale,
    /// The size of each buffer of counts in bytes.
    counts: Vec<usize>,
    copy: Option<Readback>,
}

impl Decided {
    /// `numbers` are the numbers of a dict's parameters. `copy` brings the words of the scale, then the counts; its
    /// sizes are the bytes in each buffer of counts. Without a copy, the host already knows everything.
    pub(crate) fn new(numbers: Vec<u32>, loss_scale: LossScale, copy: Option<(Vec<usize>, Readback)>) -> Self {
        let (counts, copy) = copy.unzip();
        Self { numbers, loss_scale, counts: counts.unwrap_or_default(), copy }
    }

    /// Turns steps recorded into steps taken, and adds the scale if it is dynamic.
    pub(crate) async fn apply(self, dict: &mut StateDict) -> Result<(), Error> {
        let Some(copy) = self.copy else { return Ok(()) };
        let mut bytes = Vec::new();
        let keep = |part: &[u8]| {
            bytes.extend_from_slice(part);
            Ok(())
        };
        copy.for_each(keep).await?;
        let word =
            |at: usize| bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_le_bytes);
        dict.grad_scaler = dict.grad_scaler.or(GradScalerState::from_words(self.loss_scale, [word(0), word(4)]));
        for (id, entry) in &mut dict.state {
            let Some(&number) = self.numbers.get(*id as usize) else { continue };
            let (mut begin, own) = (size_of::<Words>(), number as usize * 4);
            for &length in &self.counts {
                if own < length {
                    entry.step = entry.step.saturating_sub(word(begin + own).into());
                }
                begin += length;
            }
        }
        Ok(())
    }
}

/// The moments of a dict, filled one after another with bytes that arrive in parts.
pub(crate) struct Moments<'a> {
    /// Moments that are still to be filled, each with its number of elements.
    rest: std::vec::IntoIter<(&'a mut Vec<f32>, usize)>,
    open: Option<(&'a mut Vec<f32>, usize)>,
}

impl<'a> Moments<'a> {
    pub(crate) fn of(dict: &'a mut StateDict) -> Self {
        let mut all = Vec::new();
        for entry in dict.state.values_mut() {
            let elements = entry.shape.iter().product();
            all.extend(entry.moments_mut().map(|(_, moment)| (moment, elements)));
        }
        Self { rest: all.into_iter(), open: None }
    }

    pub(crate) fn fill(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let full = self.open.as_ref().is_none_or(|(moment, elements)| moment.len() == *elements);
            if full {
                self.open = self.rest.next();
                if self.open.is_none() {
                    let message = "more bytes came than the state has".into();
                    return Err(Error::Device { what: STATE.into(), message });
                }
                continue;
            }
            let Some((moment, elements)) = &mut self.open else { break };
            moment.reserve_exact(*elements - moment.len());
            let (now, later) = bytes.split_at(bytes.len().min((*elements - moment.len()) * 4));
            // The bytes may lie at any address.
            moment.extend(now.chunks_exact(4).map(|word| f32::from_le_bytes(word.try_into().unwrap_or_default())));
            bytes = later;
        }
        Ok(())
    }
}
