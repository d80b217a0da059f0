//! The header of a safetensors file: which tensors the file has, of which type, and where. Stricter than the format's
//! own crate: no name may occur twice, and every error names the tensor.

use std::collections::{BTreeMap, btree_map};
use std::fmt::Formatter;
use std::marker::PhantomData;

use safetensors::tensor::TensorInfo;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use crate::checkpoint::data::Data;
use crate::checkpoint::dtype::Dtype;
use crate::checkpoint::foreign;
use crate::error::checkpoint::CheckpointError;
use crate::sort::sort_by;

/// The size of the length field at the start of a file, in bytes.
const LENGTH: u64 = 8;
/// The longest header in bytes, the limit of the format's own crate.
pub(super) const MAX_HEADER: u64 = 100_000_000;
/// The most dimensions that are accepted, more than any real tensor has.
const MAX_RANK: usize = 64;
/// The only entry of the header that is not a tensor.
pub(super) const METADATA: &str = "__metadata__";

/// A tensor in a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Located {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// The first byte, from the start of the file.
    pub begin: u64,
    /// The number of bytes.
    pub size: u64,
}

/// The contents of a file.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    pub metadata: BTreeMap<String, String>,
    pub tensors: BTreeMap<String, Located>,
}

impl Header {
    /// Reads a file's header and checks that its tensors fill the rest of the file exactly.
    pub(crate) fn read(data: &Data) -> Result<Self, CheckpointError> {
        let text = Self::text(data).map_err(|error| foreign::explained(data, error))?;
        let (len, length) = (data.len(), text.len() as u64);
        let parsed: Parsed = serde_json::from_str(&text)
            .map_err(|error| CheckpointError::header(format!("the header cannot be read: {error}")))?;
        let start = LENGTH + length;
        Ok(Self { metadata: parsed.metadata, tensors: locate(parsed.tensors, start, len - start)? })
    }
}

impl Header {
    /// Returns the header's text, if the file begins as the format requires.
    fn text(data: &Data) -> Result<String, CheckpointError> {
        let len = data.len();
        if len == 0 {
            return Err(CheckpointError::header(
                "the file is empty, 0 bytes are too few for the length of a header: nothing was ever written to it, or a \
                 copy of it failed",
            ));
        }
        if len < LENGTH {
            return Err(CheckpointError::header(format!(
                "it is no safetensors file, or is cut short: {len} bytes are too few for the length of a header"
            )));
        }
        let mut bytes = [0; LENGTH as usize];
        data.read(0, &mut bytes)?;
        let length = u64::from_le_bytes(bytes);
        if length > MAX_HEADER {
            return Err(foreign::no_length(bytes, MAX_HEADER, len));
        }
        if length > len - LENGTH {
            let rest = len - LENGTH;
            return Err(CheckpointError::header(format!(
                "the file is cut short, or is no safetensors file: it claims a header of {length} bytes and has {rest} more"
            )));
        }
        let mut text = vec![0; length as usize];
        data.read(LENGTH, &mut text)?;
        let text = String::from_utf8(text).map_err(|error| {
            CheckpointError::header(format!("it is no safetensors file, or is damaged: the header is no text: {error}"))
        })?;
        if !text.starts_with('{') {
            let problem = "it is no safetensors file, or is damaged: the header does not begin with {";
            return Err(CheckpointError::header(problem));
        }
        Ok(text)
    }
}

/// Returns the tensors by name with their places in the file. Checks that they follow each other to the very end,
/// without gap or overlap.
fn locate(
    tensors: BTreeMap<String, TensorInfo>,
    start: u64,
    available: u64,
) -> Result<BTreeMap<String, Located>, CheckpointError> {
    let mut in_order: Vec<(&String, &TensorInfo)> = tensors.iter().collect();
    sort_by(&mut in_order, |(_, a), (_, b)| a.data_offsets.cmp(&b.data_offsets));
    let (mut end, mut before) = (0_u64, None);
    for (name, info) in in_order {
        let wrong = |problem: String| CheckpointError::tensor(name, problem);
        let (from, to) = (info.data_offsets.0 as u64, info.data_offsets.1 as u64);
        let shape = shown(&info.shape);
        let dtype = Dtype::known(info.dtype)?;
        let size =
            size(dtype, &info.shape).ok_or_else(|| wrong(format!("has the shape {shape}, which is too large")))?;
        if to < from {
            return Err(wrong(format!("ends at byte {to}, before it begins at {from}")));
        }
        if to - from != size {
            let problem = format!("takes {} bytes, where {:?} of shape {shape} takes {size}", to - from, info.dtype);
            return Err(wrong(problem));
        }
        if from < end {
            let before = before.unwrap_or(name);
            return Err(wrong(format!("begins at byte {from}, within tensor \"{before}\"")));
        }
        if from > end {
            return Err(wrong(format!("begins at byte {from}, and nothing fills the bytes from {end} on")));
        }
        if to > available {
            return Err(wrong(format!("ends at byte {to} of {available}: the file is cut short")));
        }
        (end, before) = (to, Some(name));
    }
    if end != available {
        return Err(CheckpointError::header(format!("{} bytes follow the last tensor", available - end)));
    }
    let mut located = BTreeMap::new();
    for (name, info) in tensors {
        let (dtype, (from, to)) = (Dtype::known(info.dtype)?, info.data_offsets);
        let place = Located { dtype, shape: info.shape, begin: start + from as u64, size: (to - from) as u64 };
        located.insert(name, place);
    }
    Ok(located)
}

/// The number of bytes that a tensor takes. `None` if it overflows or is not whole, or if there are too many
/// dimensions.
pub(super) fn size(dtype: Dtype, shape: &[usize]) -> Option<u64> {
    if shape.len() > MAX_RANK {
        return None;
    }
    let bits = shape.iter().try_fold(dtype.bits() as u64, |bits, &dimension| bits.checked_mul(dimension as u64))?;
    bits.is_multiple_of(8).then_some(bits / 8)
}

/// Formats a shape for messages.
pub(super) fn shown(shape: &[usize]) -> String {
    if shape.len() > MAX_RANK { format!("of {} dimensions", shape.len()) } else { format!("{shape:?}") }
}

/// The JSON of a header.
#[derive(Default)]
struct Parsed {
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, TensorInfo>,
}

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Parsed;

            fn expecting(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
                f.write_str("a map of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parsed, A::Error> {
                let mut parsed = Parsed::default();
                let mut has_metadata = false;
                while let Some(name) = map.next_key::<String>()? {
                    let named = |error: A::Error| A::Error::custom(format_args!("\"{name}\": {error}"));
                    if name == METADATA {
                        if has_metadata {
                            return Err(A::Error::custom("\"__metadata__\" is there twice"));
                        }
                        has_metadata = true;
                        parsed.metadata = map.next_value::<Unique<String>>().map_err(named)?.0;
                        continue;
                    }
                    let info = map.next_value::<TensorInfo>().map_err(named)?;
                    insert(&mut parsed.tensors, name, info)?;
                }
                Ok(parsed)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// A JSON object without duplicate keys.
pub(crate) struct Unique<V>(pub BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Unique<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for Entries<V> {
            type Value = Unique<V>;

            fn expecting(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique<V>, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, V>()? {
                    insert(&mut entries, key, value)?;
                }
                Ok(Unique(entries))
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

fn insert<V, E: serde::de::Error>(map: &mut BTreeMap<String, V>, key: String, value: V) -> Result<(), E> {
    match map.entry(key) {
        btree_map::Entry::Occupied(entry) => Err(E::custom(format_args!("\"{}\" is there twice", entry.key()))),
        btree_map::Entry::Vacant(entry) => {
            entry.insert(value);
            Ok(())
        }
    }
}
