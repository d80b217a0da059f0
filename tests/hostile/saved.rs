//! Input to saving: each is refused, or reads back unchanged.

use wgpu_adam::{Checkpoint, CheckpointContents, CheckpointTensor, Dtype, StateDict, TensorState};

use super::parts::{bits, good_dict};

/// The input to saving.
#[derive(Clone)]
struct Given {
    dict: StateDict,
    contents: CheckpointContents,
}

impl Given {
    fn metadata(&mut self, key: &str) {
        self.contents = self.contents.clone().with_metadata(key, "1");
    }

    fn tensor(&mut self, name: &str, shape: &[usize]) {
        let elements = if shape.contains(&0) { 0 } else { shape.iter().product() };
        let tensor = CheckpointTensor::new(Dtype::BF16, shape, vec![1; elements * 2]).unwrap();
        self.contents = self.contents.clone().with_tensor(name, tensor);
    }

    fn names(&mut self, a: &str, b: &str) {
        self.dict.param_groups[0].param_names = Some(vec![a.into()]);
        self.dict.param_groups[1].param_names = Some(vec![b.into()]);
    }

    fn extra(&mut self, key: &str, value: &str) {
        self.dict.param_groups[1].extra.insert(key.into(), value.into());
    }

    fn entry(&mut self, id: u64, change: impl FnOnce(&mut TensorState)) {
        self.dict.state.get_mut(&id).map(change);
    }

    /// A shape without elements.
    fn shape(&mut self, shape: &[usize]) {
        self.entry(0, |e| (e.shape, e.exp_avg, e.exp_avg_sq) = (shape.to_vec(), Vec::new(), Vec::new()));
    }

    fn ids(&mut self, a: u64, b: u64) {
        self.dict.param_groups[0].params = vec![a];
        self.dict.param_groups[1].params = vec![b];
        let entries = [(a, self.dict.state.remove(&0)), (b, self.dict.state.remove(&1))];
        self.dict.state.extend(entries.into_iter().filter_map(|(id, entry)| Some((id, entry?))));
    }
}

/// The change, and why it is refused; `None` if it is accepted.
type Row = (&'static str, fn(&mut Given), Option<&'static str>);

/// In the order in which the changes apply: changes of ids come last.
const ROWS: &[Row] = &[
    ("nothing", |_| {}, None),
    ("metadata", |g| g.metadata("\u{0}\"epoch\""), None),
    ("metadata optimizer", |g| g.metadata("optimizer"), Some("\"optimizer\" of the checkpoint is the optimizer's own")),
    ("metadata version", |g| g.metadata("wgpu_adam.version"), Some("\"wgpu_adam.version\" of the checkpoint is the")),
    ("metadata grad_scaler", |g| g.metadata("grad_scaler"), Some("\"grad_scaler\" of the checkpoint is the")),
    ("metadata format", |g| g.metadata("__metadata__"), None),
    ("a tensor", |g| g.tensor("", &[3, 5]), None),
    ("a tensor of 64 dimensions", |g| g.tensor("deep", &[1; 64]), None),
    ("a tensor like metadata", |g| g.tensor("__metadata__", &[1]), Some("the name of the format's own metadata")),
    ("a model", |g| g.tensor("model.a", &[2, 3]), None),
    ("a model of nobody", |g| g.tensor("model.c", &[7]), None),
    (
        "a model of another shape",
        |g| g.tensor("model.b", &[5]),
        Some("\"model.b\" of the checkpoint has the shape [5]"),
    ),
    ("state", |g| g.tensor("optimizer.state.a.step", &[]), Some("\"optimizer.state.a.step\" of the checkpoint is the")),
    ("state of nobody", |g| g.tensor("optimizer.state.x.exp_avg", &[]), Some("is the optimizer's own")),
    ("state of another kind", |g| g.tensor("optimizer.state.x.momentum", &[]), None),
    ("state without a key", |g| g.tensor("optimizer.state.step", &[]), None),
    ("values", |g| g.contents = CheckpointContents::new(), Some("has no values of parameters")),
    ("an unknown option", |g| g.extra("fused", "[null, {\"x\": 1e-7}]"), None),
    ("an unknown option that is no JSON", |g| g.extra("fused", "{\"x\"}"), Some("is no JSON")),
    ("amsgrad as an unknown option", |g| g.extra("amsgrad", "5"), Some("\"optimizer.param_groups.amsgrad\"")),
    ("names as an unknown option", |g| g.extra("param_names", "[]"), Some("\"optimizer.param_groups.param_names\"")),
    ("an option left out", |g| g.dict.param_groups[0].maximize = None, None),
    ("no lr", |g| g.dict.param_groups[0].lr = None, Some("has no lr")),
    ("lr of NaN", |g| g.dict.param_groups[1].lr = Some(f64::NAN), Some("invalid lr of group 1")),
    (
        "a scale of 0",
        |g| g.dict.grad_scaler.iter_mut().for_each(|scaler| scaler.scale = 0.0),
        Some("invalid grad_scaler.scale"),
    ),
    ("no scale", |g| g.dict.grad_scaler = None, None),
    ("version 0", |g| g.dict.version = 0, Some("has version 0")),
    ("a later version", |g| g.dict.version = 2, Some("has version 2")),
    ("the last step", |g| g.entry(0, |e| e.step = 1 << 53), None),
    ("one more", |g| g.entry(0, |e| e.step = (1 << 53) + 1), Some("at most 2^53")),
    ("a step of f64", |g| g.entry(1, |e| e.step = (1 << 24) + 1), None),
    ("no step", |g| g.entry(1, |e| e.step = 0), Some("has taken no step and is not zero")),
    (
        "NaN",
        |g| g.entry(0, |e| e.exp_avg.iter_mut().skip(5).for_each(|v| *v = f32::NAN)),
        Some(
            "exp_avg of parameter \"a\" is spoiled: 1 of its 6 elements are NaN or infinite, the first of them element 5: NaN",
        ),
    ),
    (
        "infinity",
        |g| g.entry(1, |e| e.exp_avg.iter_mut().skip(1).for_each(|v| *v = f32::NEG_INFINITY)),
        Some("3 of its 4 elements are NaN or infinite, the first of them element 1: -inf; nothing was saved"),
    ),
    (
        "a maximum of NaN",
        |g| g.entry(1, |e| e.max_exp_avg_sq.iter_mut().flatten().for_each(|v| *v = f32::NAN)),
        Some("max_exp_avg_sq of parameter \"b\" is spoiled: 4 of its 4 elements are NaN, the first of them element 0"),
    ),
    (
        "NaN that is allowed",
        |g| {
            g.entry(0, |e| e.exp_avg_sq.iter_mut().skip(2).for_each(|v| *v = f32::NAN));
            g.contents = g.contents.clone().allow_nonfinite();
        },
        None,
    ),
    ("an infinite square", |g| g.entry(0, |e| e.exp_avg_sq.iter_mut().skip(3).for_each(|v| *v = f32::INFINITY)), None),
    (
        "infinite squares",
        |g| {
            g.entry(1, |e| {
                e.exp_avg_sq.iter_mut().chain(e.max_exp_avg_sq.iter_mut().flatten()).for_each(|v| *v = f32::INFINITY);
            });
        },
        None,
    ),
    (
        "a negative square",
        |g| g.entry(1, |e| e.exp_avg_sq.iter_mut().for_each(|v| *v = -1.0)),
        Some("is negative at element 0"),
    ),
    (
        "no maximum",
        |g| g.entry(1, |e| e.max_exp_avg_sq = None),
        Some("\"optimizer.state.b.max_exp_avg_sq\", and the parameter's group uses amsgrad"),
    ),
    ("a maximum without amsgrad", |g| g.dict.param_groups[1].amsgrad = Some(false), None),
    ("a moment too short", |g| g.entry(0, |e| e.exp_avg.truncate(5)), Some("has 5 elements")),
    ("no entry", |g| drop(g.dict.state.remove(&1)), None),
    ("no elements", |g| g.shape(&[3, 0]), None),
    ("64 dimensions", |g| g.shape(&[0; 64]), None),
    ("65 dimensions", |g| g.shape(&[0; 65]), Some("has the shape of 65 dimensions")),
    ("bits that cannot be counted", |g| g.shape(&[1 << 60, 0]), Some("which is too large")),
    ("strange names", |g| g.names("a.step", "b \u{1f600}\""), None),
    ("a name like another's state", |g| g.names("a", "a.exp_avg"), None),
    ("names that are ids", |g| g.names("1", "0"), None),
    ("a name twice", |g| g.names("a", "a"), Some("which was there before")),
    ("an empty name", |g| g.names("", "b"), None),
    ("paths", |g| g.names("../b", "/etc/passwd"), None),
    ("other paths", |g| g.names("..", "C:\\x"), None),
    ("control characters", |g| g.names("a\u{0}", "\n\u{7f}"), None),
    ("names of the form's own", |g| g.names("__metadata__", "optimizer.state.a.exp_avg"), None),
    ("no names", |g| g.dict.param_groups.iter_mut().for_each(|group| group.param_names = None), None),
    ("half the names", |g| g.dict.param_groups[0].param_names = None, Some("names some parameters and not all")),
    ("an empty group", |g| g.dict.param_groups.push(g.dict.param_groups[0].clone()), Some("which was there before")),
    ("ids in another order", |g| g.ids(1, 0), None),
    ("ids with a gap", |g| g.ids(0, 7), Some("are listed by id, and the ids are not counted from 0")),
];

/// The reason if saving refuses the input. Fails if it is accepted but does not read back unchanged.
fn save(given: &Given) -> Result<Option<String>, String> {
    let bytes = match given.dict.to_safetensors(&given.contents) {
        Ok(bytes) => bytes,
        Err(error) => return Ok(Some(error.to_string())),
    };
    let opened = Checkpoint::from_bytes(bytes).map_err(|error| format!("accepted, but it does not open: {error}"))?;
    let read = opened.state_dict().map_err(|error| format!("accepted, but it cannot be read: {error}"))?;
    if bits(&read) == bits(&given.dict) { Ok(None) } else { Err(format!("accepted, but reads back as {read:?}")) }
}

#[test]
fn what_is_saved_is_read_again() {
    let _alone = super::ALONE.lock();
    let good = Given { dict: good_dict(), contents: CheckpointContents::optimizer_only() };
    let mut failures = Vec::new();
    for (name, change, want) in ROWS {
        let mut given = good.clone();
        change(&mut given);
        match (save(&given), want) {
            (Ok(None), None) => {}
            (Ok(Some(error)), Some(want)) if error.contains(want) => {}
            (got, want) => failures.push(format!("{name}: want {want:?}, got {got:?}")),
        }
        // Together with every other change, whether accepted or refused.
        for (other, second, _) in ROWS {
            let mut given = good.clone();
            change(&mut given);
            second(&mut given);
            if let Err(problem) = save(&given) {
                failures.push(format!("{name}, {other}: {problem}"));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures\n  {}", failures.len(), failures.join("\n  "));
}

/// In a file that is mapped, each number can be read where it lies: those of eight bytes come first, whatever their names.
#[test]
fn numbers_lie_at_multiples_of_their_size() {
    let _alone = super::ALONE.lock();
    let sizes = [("F64", Dtype::F64, 8), ("F32", Dtype::F32, 4), ("BF16", Dtype::BF16, 2), ("U8", Dtype::U8, 1)];
    let mut contents = CheckpointContents::optimizer_only();
    for (number, (name, dtype, size)) in sizes.into_iter().enumerate() {
        // The narrow before the wide and behind it, in odd numbers.
        for name in [format!("{}.{name}", 9 - number), format!("z.{number}.{name}")] {
            contents = contents.with_tensor(&name, CheckpointTensor::new(dtype, [3], vec![1; 3 * size]).unwrap());
        }
    }
    let mut dict = good_dict();
    dict.state.get_mut(&1).unwrap().step = (1 << 24) + 1;
    let bytes = dict.to_safetensors(&contents).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let tensors: Vec<_> = header.iter().filter(|(name, _)| *name != "__metadata__").collect();
    assert_eq!(tensors.len(), 7 + 8);
    for (name, tensor) in tensors {
        let begin = 8 + length + tensor["data_offsets"][0].as_u64().unwrap() as usize;
        let (_, _, size) = sizes.into_iter().find(|(dtype, ..)| *dtype == tensor["dtype"]).unwrap();
        assert!(begin.is_multiple_of(size), "{name} begins at {begin}");
    }
}
