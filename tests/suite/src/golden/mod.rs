//! The golden cases: the operations on torch's optimizer, and the results.

pub mod continuation;
mod manifest;
pub mod rule;

use std::borrow::Cow;

use anyhow::{Context, Result, bail, ensure};
use safetensors::{Dtype, SafeTensors, tensor::Metadata};

pub use manifest::{
    Algorithm, Expected, GroupSpec, Key, Manifest, Norm, Op, Options, PackedGroup, ParamSpec, Source, Tag, TorchError,
};

/// One case: its manifest and its numbers.
pub struct Case {
    manifest: Manifest,
    tensors: Vec<u8>,
    metadata: Metadata,
    /// Offset of the numbers in `tensors`.
    data_start: usize,
}

/// The one of torch's two runs that a result comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Run {
    /// Float32 parameters: torch's own result.
    F32,
    /// Float64 parameters: the reference.
    F64,
}

impl Case {
    /// Reads `NAME.json` and the content of `NAME.safetensors`.
    pub fn parse(manifest_json: &str, tensors: Vec<u8>) -> Result<Self> {
        let manifest: Manifest = serde_json::from_str(manifest_json).context("reading a manifest")?;
        let (header, metadata) = SafeTensors::read_metadata(&tensors).context("reading the tensors of a case")?;
        // The first eight bytes hold the length of the header.
        let data_start = 8 + header;
        ensure!(tensors.len() == data_start + metadata.data_len(), "the tensors of {} are cut off", manifest.name);
        if let Some(rule) = &manifest.rule {
            rule.check(&manifest.params)?;
        }
        Ok(Self { manifest, tensors, metadata, data_start })
    }

    /// Loads a case from its folder; the name may include a subfolder.
    #[cfg(not(target_family = "wasm"))]
    pub fn load(folder: impl AsRef<std::path::Path>, name: &str) -> Result<Self> {
        #[derive(serde::Deserialize)]
        struct Head {
            tensors: String,
        }
        let path = folder.as_ref().join(format!("{name}.json"));
        let read = || {
            let text = std::fs::read_to_string(&path)?;
            let head: Head = serde_json::from_str(&text)?;
            let tensors = std::fs::read(path.with_file_name(&head.tensors)).context(head.tensors)?;
            Self::parse(&text, tensors)
        };
        read().with_context(|| format!("loading {}", path.display()))
    }

    pub fn name(&self) -> &str {
        &self.manifest.name
    }

    pub fn tag(&self) -> Tag {
        self.manifest.tag
    }

    pub fn params(&self) -> &[ParamSpec] {
        &self.manifest.params
    }

    pub fn timeline(&self) -> &[Op] {
        &self.manifest.timeline
    }

    /// The checkpoints in order.
    pub fn checkpoints(&self) -> impl Iterator<Item = &Expected> {
        self.manifest.timeline.iter().filter_map(|op| match op {
            Op::Checkpoint(expected) => Some(expected),
            _ => None,
        })
    }

    /// The names of packed ids: the parameters of all groups, as state dicts number them.
    pub fn packed_names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for op in &self.manifest.timeline {
            match op {
                Op::Construct { groups, .. } => names.extend(groups.iter().flat_map(|group| &group.params)),
                Op::AddGroup { group } => names.extend(&group.params),
                _ => {}
            }
        }
        names.into_iter().map(String::as_str).collect()
    }

    pub fn param(&self, id: &str) -> Result<&ParamSpec> {
        Ok(&self.manifest.params[self.position(id)?])
    }

    /// The initial value of a parameter.
    pub fn initial(&self, id: &str) -> Result<Vec<f32>> {
        self.input(0, id, || format!("init.{id}"))
    }

    /// The gradient of step `n`, counted from 1.
    pub fn gradient(&self, n: u64, id: &str) -> Result<Vec<f32>> {
        self.input(n, id, || format!("grad.{n}.{id}"))
    }

    /// A moment for `load_state`; none if the case has none.
    pub fn loaded(&self, id: &str, key: Key) -> Result<Option<Vec<f32>>> {
        let name = format!("load.{id}.{key}");
        self.metadata.info(&name).map(|_| self.floats(&name)).transpose()
    }

    /// Whether torch had this tensor at a checkpoint.
    pub fn has_result(&self, checkpoint: &str, id: &str, key: Key) -> bool {
        self.metadata.info(&result_name(Run::F32, checkpoint, id, key)).is_some()
    }

    /// A result of torch's, exact in float64; for sampled parameters the samples only.
    pub fn result(&self, run: Run, checkpoint: &str, id: &str, key: Key) -> Result<Vec<f64>> {
        let name = result_name(run, checkpoint, id, key);
        match run {
            Run::F32 => Ok(self.floats(&name)?.into_iter().map(f64::from).collect()),
            Run::F64 => self.words(&name, Dtype::F64, f64::from_le_bytes),
        }
    }

    /// Selects the elements that the results of this parameter contain.
    pub fn sample<'a, T: Copy>(&self, id: &str, full: &'a [T]) -> Result<Cow<'a, [T]>> {
        let spec = self.param(id)?;
        ensure!(full.len() == spec.elements(), "{} values for the {} of {id}", full.len(), spec.elements());
        Ok(match self.sample_indices(id)? {
            None => Cow::Borrowed(full),
            Some(indices) => Cow::Owned(indices.into_iter().map(|i| full[i]).collect()),
        })
    }

    /// The flat indices in the results of a sampled parameter; none for whole parameters.
    pub fn sample_indices(&self, id: &str) -> Result<Option<Vec<usize>>> {
        let spec = self.param(id)?;
        if !spec.sampled {
            return Ok(None);
        }
        let indices = self.words(&format!("index.{id}"), Dtype::I64, i64::from_le_bytes)?;
        let inside = |i: i64| usize::try_from(i).ok().filter(|&i| i < spec.elements());
        let indices: Option<Vec<usize>> = indices.into_iter().map(inside).collect();
        Ok(Some(indices.with_context(|| format!("index.{id} points outside the tensor"))?))
    }

    fn position(&self, id: &str) -> Result<usize> {
        let position = self.manifest.params.iter().position(|param| param.id == id);
        position.with_context(|| format!("{} has no parameter {id}", self.name()))
    }

    fn input(&self, step: u64, id: &str, name: impl FnOnce() -> String) -> Result<Vec<f32>> {
        let position = self.position(id)?;
        let spec = &self.manifest.params[position];
        let values = match spec.source {
            Source::Stored => self.floats(&name())?,
            Source::Rule => {
                let rule = self.manifest.rule.as_ref().context("the case has no rule")?;
                rule.values(step, position, spec.elements())?
            }
        };
        ensure!(values.len() == spec.elements(), "{} values for the {} of {id}", values.len(), spec.elements());
        Ok(values)
    }

    fn floats(&self, name: &str) -> Result<Vec<f32>> {
        self.words(name, Dtype::F32, f32::from_le_bytes)
    }

    /// A tensor of `N`-byte numbers.
    fn words<T, const N: usize>(&self, name: &str, dtype: Dtype, from: impl Fn([u8; N]) -> T) -> Result<Vec<T>> {
        let info = self.metadata.info(name).with_context(|| format!("{} has no tensor {name}", self.name()))?;
        if info.dtype != dtype {
            bail!("{name} holds {:?} instead of {dtype:?}", info.dtype);
        }
        let (start, end) = info.data_offsets;
        let bytes = &self.tensors[self.data_start + start..self.data_start + end];
        let word = |bytes: &[u8]| from(std::array::from_fn(|i| bytes[i]));
        Ok(bytes.chunks_exact(N).map(word).collect())
    }
}

/// The cases of a folder: those of its `index.json`, or every manifest if it has none.
#[cfg(not(target_family = "wasm"))]
pub fn names(folder: impl AsRef<std::path::Path>) -> Result<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Entry {
        name: String,
    }
    let folder = folder.as_ref();
    let index = folder.join("index.json");
    if index.exists() {
        let text = std::fs::read_to_string(&index).with_context(|| format!("reading {}", index.display()))?;
        let entries: Vec<Entry> = serde_json::from_str(&text).context("reading index.json")?;
        return Ok(entries.into_iter().map(|entry| entry.name).collect());
    }
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.join("manifest.json").exists() {
            names.extend(path.file_name().and_then(|name| name.to_str()).map(str::to_owned));
        } else if path.extension().is_some_and(|extension| extension == "json") {
            names.extend(path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
        }
    }
    names.sort();
    Ok(names)
}

fn result_name(run: Run, checkpoint: &str, id: &str, key: Key) -> String {
    let run = match run {
        Run::F32 => "f32",
        Run::F64 => "f64",
    };
    format!("{run}.{checkpoint}.{id}.{key}")
}
