//! Which numbers a moment may hold: one rule for saving, opening and loading.
//!
//! NaN and an infinite `exp_avg` are *spoiled*: every further step turns them into NaN. They are refused unless the
//! caller allows them. An infinite `exp_avg_sq` or `max_exp_avg_sq` is legal: one large finite gradient causes it, and
//! the element rests from then on. Numbers that no gradients lead to are *impossible*, and always refused.

use crate::error::Error;
use crate::error::state_dict::StateDictError;
use crate::error::tensor::TensorLabel;
use crate::planes::Plane;
use crate::registry::tensor::Tensor;
use crate::state_dict::TensorState;

/// What to do about spoiled state that is not saved.
#[cfg(feature = "safetensors")]
pub(crate) const NOT_SAVED: &str = "nothing was saved, and a file that was there is still the old one; start the parameter \
    anew with record_reset_state, or save it all the same, as torch does, with CheckpointContents::allow_nonfinite; \
    skip_nonfinite in a GradientControl keeps such gradients out";
/// What to do about spoiled state that is not loaded.
pub(crate) const NOT_LOADED: &str = "nothing was loaded; load it all the same, as torch does, with \
    LoadOptions::allow_nonfinite, and start the parameter anew with record_reset_state";

/// A number that no run produces, whatever its gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Impossible {
    pub element: u64,
    pub value: f32,
    pub problem: &'static str,
}

/// The spoiled elements of a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spoiled {
    pub key: &'static str,
    pub count: u64,
    /// How many elements the moment has.
    pub elements: u64,
    /// The first spoiled element, and its value.
    pub element: u64,
    pub value: f32,
}

/// A check of a moment's numbers, part by part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scan {
    plane: Plane,
    step: u64,
    done: u64,
    count: u64,
    first: Option<(u64, f32)>,
}

impl Scan {
    pub(crate) fn new(plane: Plane, step: u64) -> Self {
        Self { plane, step, done: 0, count: 0, first: None }
    }

    /// Checks the next numbers. The first impossible one is an error.
    pub(crate) fn feed(&mut self, values: impl Iterator<Item = f32>) -> Result<(), Impossible> {
        let is_square = self.plane.is_square();
        for value in values {
            let element = self.done;
            self.done += 1;
            let is_legal = if is_square { value >= 0.0 } else { value.is_finite() };
            if is_legal && (self.step > 0 || value == 0.0) {
                continue;
            }
            let impossible = |problem| Err(Impossible { element, value, problem });
            if self.step == 0 {
                return impossible("has taken no step and is not zero");
            }
            if is_square && value < 0.0 {
                return impossible("is negative");
            }
            self.count += 1;
            self.first = self.first.or(Some((element, value)));
        }
        Ok(())
    }

    /// Like [`feed`](Self::feed), for little-endian numbers at any address.
    #[cfg(feature = "safetensors")]
    pub(crate) fn feed_bytes(&mut self, bytes: &[u8]) -> Result<(), Impossible> {
        self.feed(bytes.chunks_exact(4).map(|word| f32::from_le_bytes(word.try_into().unwrap_or_default())))
    }

    /// Returns what was spoiled among all numbers so far.
    pub(crate) fn spoiled(&self) -> Option<Spoiled> {
        let (element, value) = self.first?;
        Some(Spoiled { key: self.plane.key(), count: self.count, elements: self.done, element, value })
    }
}

impl Spoiled {
    /// Returns the error for a spoiled moment. `tensor` describes its parameter.
    pub(crate) fn error(self, tensor: TensorLabel, remedy: &'static str) -> Error {
        let Self { key, count, elements, element, value } = self;
        Error::SpoiledState { tensor, key, count, elements, element, value, remedy }
    }
}

impl TensorState {
    /// Checks that the moments have the tensor's length and hold only numbers that a run produces. Spoiled numbers pass
    /// if they are allowed.
    pub(crate) fn check_moments(&self, tensor: &Tensor, number: u32, allow_nonfinite: bool) -> Result<(), Error> {
        let wrong =
            |key, problem| Error::StateDict(StateDictError::Entry { tensor: tensor.describe(number), key, problem });
        for (plane, moment) in self.moments() {
            let key = plane.key();
            if moment.len() as u64 != tensor.length {
                return Err(wrong(key, format!("has {} elements instead of {}", moment.len(), tensor.length)));
            }
            let mut scan = Scan::new(plane, self.step);
            let impossible =
                |Impossible { element, value, problem }| wrong(key, format!("{problem} at element {element}: {value}"));
            scan.feed(moment.iter().copied()).map_err(impossible)?;
            if let Some(spoiled) = scan.spoiled().filter(|_| !allow_nonfinite) {
                return Err(spoiled.error(tensor.describe(number), NOT_LOADED));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Impossible, Plane, Scan, Spoiled};

    const INF: f32 = f32::INFINITY;
    const NAN: f32 = f32::NAN;

    /// Returns how many numbers are spoiled and which is the first, or which number is impossible. Checks that this
    /// does not depend on where the numbers are cut.
    fn look(plane: Plane, step: u64, values: &[f32]) -> Result<Option<(u64, u64)>, (u64, &'static str)> {
        let mut results = Vec::new();
        for cut in 0..=values.len() {
            let (head, tail) = values.split_at(cut);
            let mut scan = Scan::new(plane, step);
            let fed = scan.feed(head.iter().copied()).and_then(|()| scan.feed(tail.iter().copied()));
            let found = fed.map(|()| scan.spoiled()).map_err(|Impossible { element, value, problem }| {
                assert_eq!(value.to_bits(), values[element as usize].to_bits());
                (element, problem)
            });
            results.push(found.map(|spoiled| {
                spoiled.map(|Spoiled { key: own, count, elements, element, value }| {
                    assert_eq!((own, elements), (plane.key(), values.len() as u64));
                    assert_eq!(value.to_bits(), values[element as usize].to_bits());
                    (count, element)
                })
            }));
        }
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{plane:?} {values:?}: {results:?}");
        results[0]
    }

    #[test]
    fn the_rule() {
        assert_eq!(look(Plane::ExpAvg, 3, &[-1.0, 0.0, -0.0, f32::MAX, 1e-45]), Ok(None));
        assert_eq!(look(Plane::ExpAvg, 3, &[0.0, -INF, 1.0, NAN, INF]), Ok(Some((3, 1))));
        assert_eq!(look(Plane::ExpAvg, 0, &[0.0, -0.0]), Ok(None));
        assert_eq!(look(Plane::ExpAvg, 0, &[0.0, 1e-45]), Err((1, "has taken no step and is not zero")));
        assert_eq!(look(Plane::ExpAvg, 0, &[NAN]), Err((0, "has taken no step and is not zero")));
        for key in [Plane::ExpAvgSq, Plane::MaxExpAvgSq] {
            assert_eq!(look(key, 3, &[]), Ok(None));
            assert_eq!(look(key, 3, &[INF, 0.0, -0.0, 7.0]), Ok(None), "{key:?}: infinite and legal");
            assert_eq!(look(key, 3, &[INF, NAN, 0.0, NAN]), Ok(Some((2, 1))), "{key:?}");
            assert_eq!(look(key, 3, &[NAN, -1e-45]), Err((1, "is negative")), "{key:?}");
            assert_eq!(look(key, 3, &[0.0, -INF]), Err((1, "is negative")), "{key:?}");
            assert_eq!(look(key, 0, &[INF]), Err((0, "has taken no step and is not zero")), "{key:?}");
        }
    }
}
