//! Metadata entries that are JSON objects. Their entries are read one by one, and unknown ones are kept verbatim.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::checkpoint::header::Unique;
use crate::checkpoint::map::map_of;
use crate::checkpoint::names;
use crate::error::checkpoint::CheckpointError;

/// Values that are kept verbatim.
pub(super) type Raw = BTreeMap<String, Box<RawValue>>;

/// Reads an object's entries. No key may occur twice.
pub(super) fn object(place: &str, text: &str) -> Result<Raw, CheckpointError> {
    let parsed = serde_json::from_str::<Unique<Box<RawValue>>>(text);
    parsed
        .map(|Unique(entries)| entries)
        .map_err(|error| CheckpointError::metadata(place, format!("cannot be read: {error}")))
}

/// Removes and returns an entry, if it is there.
pub(super) fn optional<T: DeserializeOwned>(
    raw: &mut Raw,
    place: &str,
    key: &str,
) -> Result<Option<T>, CheckpointError> {
    let Some(value) = raw.remove(key) else { return Ok(None) };
    serde_json::from_str(value.get()).map(Some).map_err(|error| wrong_type(place, key, value.get(), &error))
}

fn wrong_type(place: &str, key: &str, value: &str, error: &serde_json::Error) -> CheckpointError {
    let shown: String = value.chars().take(40).collect();
    CheckpointError::metadata(format!("{place}.{key}"), format!("is {shown}: {error}"))
}

/// Removes and returns an entry. It must be there.
pub(super) fn required<T: DeserializeOwned>(raw: &mut Raw, place: &str, key: &str) -> Result<T, CheckpointError> {
    optional(raw, place, key)?.ok_or_else(|| missing(place, key))
}

fn missing(place: &str, key: &str) -> CheckpointError {
    CheckpointError::metadata(format!("{place}.{key}"), "is missing")
}

/// Returns the remaining entries as text.
pub(super) fn texts(raw: Raw) -> BTreeMap<String, String> {
    map_of(raw.into_iter().map(|(key, value)| (key, value.get().to_owned())))
}

/// Reads texts as JSON values.
pub(super) fn raw(place: &str, texts: &BTreeMap<String, String>) -> Result<Raw, CheckpointError> {
    let mut raw = Raw::new();
    for (key, text) in texts {
        let value = RawValue::from_string(text.clone());
        let value = value
            .map_err(|error| CheckpointError::metadata(format!("{place}.{key}"), format!("is no JSON: {error}")))?;
        raw.insert(key.clone(), value);
    }
    Ok(raw)
}

/// Returns a value as JSON.
pub(super) fn json(value: &impl serde::Serialize) -> Result<Box<RawValue>, CheckpointError> {
    serde_json::value::to_raw_value(value)
        .map_err(|error| CheckpointError::metadata(names::OPTIMIZER, error.to_string()))
}
