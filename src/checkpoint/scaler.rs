//! The metadata entry `grad_scaler`: the dynamic loss scale as JSON, under torch's keys.

use std::collections::BTreeMap;

use crate::checkpoint::entries::{Raw, json, object, raw, required, texts};
use crate::checkpoint::names;
use crate::error::checkpoint::CheckpointError;
use crate::options::grad_scaler::GradScalerState;

/// The contents of the entry. Unknown ones are kept as JSON.
#[derive(Clone, Debug)]
pub(crate) struct Scaler {
    pub state: GradScalerState,
    pub extra: BTreeMap<String, String>,
}

const PLACE: &str = names::GRAD_SCALER;

impl Scaler {
    pub(crate) fn parse(text: &str) -> Result<Self, CheckpointError> {
        let mut raw: Raw = object(PLACE, text)?;
        let state = GradScalerState {
            scale: required(&mut raw, PLACE, "scale")?,
            growth_factor: required(&mut raw, PLACE, "growth_factor")?,
            backoff_factor: required(&mut raw, PLACE, "backoff_factor")?,
            growth_interval: required(&mut raw, PLACE, "growth_interval")?,
            growth_tracker: required(&mut raw, PLACE, "_growth_tracker")?,
        };
        Ok(Self { state, extra: texts(raw) })
    }
}

/// Returns the entry's text.
pub(crate) fn to_json(state: &GradScalerState, extra: &BTreeMap<String, String>) -> Result<String, CheckpointError> {
    let mut entries = raw(PLACE, extra)?;
    let numbers =
        [("scale", state.scale), ("growth_factor", state.growth_factor), ("backoff_factor", state.backoff_factor)];
    for (key, number) in numbers {
        entries.insert(key.into(), json(&number)?);
    }
    entries.insert("growth_interval".into(), json(&state.growth_interval)?);
    entries.insert("_growth_tracker".into(), json(&state.growth_tracker)?);
    serde_json::to_string(&entries).map_err(|error| CheckpointError::metadata(PLACE, error.to_string()))
}
