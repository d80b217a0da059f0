//! A checkpoint file in parts, for tests to damage.

use std::collections::BTreeMap;

use wgpu_adam::{
    AdamConfig, CheckpointContents, CheckpointTensor, GradScalerState, StateDict, StateGroup, TensorState,
};

/// Header length, header and data of a file.
#[derive(Clone)]
pub struct Parts {
    /// The header length that the file claims, if it is false.
    pub length: Option<u64>,
    pub header: Vec<u8>,
    pub data: Vec<u8>,
    /// All bytes, for files without parts.
    raw: Option<Vec<u8>>,
}

/// Two groups of one parameter each, the second with amsgrad, and a loss scale.
pub fn good_dict() -> StateDict {
    let amsgrad = AdamConfig { amsgrad: true, ..AdamConfig::default() };
    let entry = |step, shape: &[usize], max: bool| {
        let elements = shape.iter().product::<usize>();
        let values = |scale: f32| (0..elements).map(|i| (i + 1) as f32 * scale).collect::<Vec<_>>();
        let max_exp_avg_sq = max.then(|| values(0.5));
        TensorState { step, shape: shape.to_vec(), exp_avg: values(-0.1), exp_avg_sq: values(0.25), max_exp_avg_sq }
    };
    StateDict {
        state: BTreeMap::from([(0, entry(7, &[2, 3], false)), (1, entry(3, &[4], true))]),
        param_groups: vec![
            StateGroup::new(&AdamConfig::default(), vec![0], Some(vec!["a".into()])),
            StateGroup::new(&amsgrad, vec![1], Some(vec!["b".into()])),
        ],
        grad_scaler: Some(GradScalerState {
            scale: 1536.0,
            growth_factor: 2.0,
            backoff_factor: 0.5,
            growth_interval: 100,
            growth_tracker: 17,
        }),
        ..StateDict::default()
    }
}

/// A dict without its moments, and the bits of the moments, because NaN does not equal itself.
pub fn bits(dict: &StateDict) -> (StateDict, Vec<Vec<u32>>) {
    let (mut rest, mut all) = (dict.clone(), Vec::new());
    for entry in rest.state.values_mut() {
        let moments = [Some(&mut entry.exp_avg), Some(&mut entry.exp_avg_sq), entry.max_exp_avg_sq.as_mut()];
        let taken = moments.into_iter().flatten().map(std::mem::take);
        all.extend(taken.map(|moment| moment.into_iter().map(f32::to_bits).collect()));
    }
    (rest, all)
}

impl Parts {
    /// A file of 9 tensors: the state, `model.a`, and a foreign tensor.
    pub fn good() -> Self {
        let tensor = |shape: &[usize], values: &[f32]| CheckpointTensor::f32(shape, values).unwrap();
        let contents = CheckpointContents::optimizer_only()
            .with_tensor("model.a", tensor(&[2, 3], &[1.0; 6]))
            .with_tensor("curve", tensor(&[0], &[]));
        Self::of(&good_dict().to_safetensors(&contents).unwrap())
    }

    pub fn of(bytes: &[u8]) -> Self {
        let (length, rest) = bytes.split_at(8);
        let (header, data) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
        Self { length: None, header: header.to_vec(), data: data.to_vec(), raw: None }
    }

    pub fn bytes(&self) -> Vec<u8> {
        if let Some(raw) = &self.raw {
            return raw.clone();
        }
        let length = self.length.unwrap_or(self.header.len() as u64);
        [&length.to_le_bytes(), self.header.as_slice(), &self.data].concat()
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.raw = Some(bytes.to_vec());
    }

    /// Replaces a part of the header, which must occur exactly once.
    pub fn replace(&mut self, old: &str, new: &str) {
        let text = String::from_utf8(self.header.clone()).unwrap();
        assert_eq!(text.matches(old).count(), 1, "{old} in {text}");
        self.header = text.replace(old, new).into_bytes();
    }

    /// Replaces a tensor's entry in the header, without the braces.
    pub fn text_of(&mut self, name: &str, new: &str) {
        let text = String::from_utf8(self.header.clone()).unwrap();
        let begin = text.find(&format!("\"{name}\":{{")).unwrap() + name.len() + 4;
        let end = begin + text[begin..].find('}').unwrap();
        self.header = [&text[..begin], new, &text[end..]].concat().into_bytes();
    }

    pub fn tensor(&mut self, name: &str, dtype: &str, shape: &str, begin: u64, end: u64) {
        self.text_of(name, &format!("\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":[{begin},{end}]"));
    }

    /// Sets another type and shape for the same bytes.
    pub fn retype(&mut self, name: &str, dtype: &str, shape: &str) {
        let (begin, end) = self.offsets(name);
        self.tensor(name, dtype, shape, begin as u64, end as u64);
    }

    pub fn rename(&mut self, old: &str, new: &str) {
        self.replace(&format!("\"{old}\""), &format!("\"{new}\""));
    }

    pub fn write(&mut self, name: &str, bytes: &[u8]) {
        self.write_at(name, 0, bytes);
    }

    pub fn write_at(&mut self, name: &str, at: usize, bytes: &[u8]) {
        let (begin, _) = self.offsets(name);
        self.data[begin + at..begin + at + bytes.len()].copy_from_slice(bytes);
    }

    /// A step count of 8 bytes, placed after all other data. Its original 4 bytes become a foreign tensor.
    pub fn step(&mut self, name: &str, dtype: &str, bytes: &[u8; 8]) {
        self.rename(name, "other");
        let (begin, end) = (self.data.len(), self.data.len() + bytes.len());
        let tensor = format!("\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":[],\"data_offsets\":[{begin},{end}]}}");
        self.replace("\"other\"", &format!("{tensor},\"other\""));
        self.data.extend(bytes);
    }

    fn offsets(&self, name: &str) -> (usize, usize) {
        let header: serde_json::Value = serde_json::from_slice(&self.header).unwrap();
        let offset = |i: usize| header[name]["data_offsets"][i].as_u64().unwrap() as usize;
        (offset(0), offset(1))
    }

    /// Replaces all metadata.
    pub fn metadata(&mut self, json: &str) {
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        let mut header: serde_json::Value = serde_json::from_slice(&self.header).unwrap();
        header["__metadata__"] = value;
        self.header = serde_json::to_vec(&header).unwrap();
    }

    /// Replaces the metadata entry `optimizer`.
    pub fn optimizer(&mut self, text: &str) {
        let mut header: serde_json::Value = serde_json::from_slice(&self.header).unwrap();
        header["__metadata__"]["optimizer"] = text.into();
        self.header = serde_json::to_vec(&header).unwrap();
    }

    /// Replaces the first occurrence of a part of the metadata entry `optimizer`.
    pub fn in_optimizer(&mut self, old: &str, new: &str) {
        self.in_entry("optimizer", old, new);
    }

    /// Replaces the first occurrence of a part of the entry `grad_scaler`.
    pub fn in_grad_scaler(&mut self, old: &str, new: &str) {
        self.in_entry("grad_scaler", old, new);
    }

    fn in_entry(&mut self, entry: &str, old: &str, new: &str) {
        let mut header: serde_json::Value = serde_json::from_slice(&self.header).unwrap();
        let text = header["__metadata__"][entry].as_str().unwrap();
        assert!(text.contains(old), "{old} in {text}");
        header["__metadata__"][entry] = text.replacen(old, new, 1).into();
        self.header = serde_json::to_vec(&header).unwrap();
    }
}
