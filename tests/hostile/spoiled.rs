//! Unusual numbers and names, which must not keep a file from being opened: they are read unchanged, and written
//! unchanged.

use wgpu_adam::{Checkpoint, CheckpointContents, Error, StateDict, TensorState};

use super::parts::{Parts, bits};

/// A spoiled moment: id, moment, number of spoiled elements, index of the first one, number of all elements.
type First = (u64, &'static str, u64, u64, u64);

const INF: [u8; 4] = f32::INFINITY.to_le_bytes();
const NAN: [u8; 4] = 0xffc1_2345_u32.to_le_bytes();

type Row = (&'static str, fn(&mut Parts), Option<First>);

/// A change of a good file, and the spoiled moment that results; `None` if everything stays legal.
const ROWS: &[Row] = &[
    ("nothing", |_| {}, None),
    ("an infinite square", |f| f.write_at("optimizer.state.b.exp_avg_sq", 4, &INF), None),
    ("an infinite maximum", |f| f.write_at("optimizer.state.b.max_exp_avg_sq", 12, &INF), None),
    (
        "every square infinite",
        |f| {
            f.write("optimizer.state.a.exp_avg_sq", &[INF; 6].concat());
            f.write("optimizer.state.b.exp_avg_sq", &[INF; 4].concat());
        },
        None,
    ),
    ("NaN", |f| f.write_at("optimizer.state.a.exp_avg", 20, &NAN), Some((0, "exp_avg", 1, 5, 6))),
    ("infinity", |f| f.write_at("optimizer.state.a.exp_avg", 4, &[INF; 3].concat()), Some((0, "exp_avg", 3, 1, 6))),
    (
        "less infinity",
        |f| f.write_at("optimizer.state.b.exp_avg", 8, &f32::NEG_INFINITY.to_le_bytes()),
        Some((1, "exp_avg", 1, 2, 4)),
    ),
    (
        "NaN beside an infinite square",
        |f| f.write_at("optimizer.state.a.exp_avg_sq", 0, &[INF, NAN, INF, NAN].concat()),
        Some((0, "exp_avg_sq", 2, 1, 6)),
    ),
    (
        "a maximum of NaN",
        |f| f.write_at("optimizer.state.b.max_exp_avg_sq", 0, &NAN),
        Some((1, "max_exp_avg_sq", 1, 0, 4)),
    ),
    (
        "in both moments of one",
        |f| {
            f.write_at("optimizer.state.a.exp_avg", 8, &NAN);
            f.write_at("optimizer.state.a.exp_avg_sq", 4, &[NAN; 2].concat());
        },
        Some((0, "exp_avg", 1, 2, 6)),
    ),
    (
        "in both parameters",
        |f| {
            f.write_at("optimizer.state.b.exp_avg", 0, &NAN);
            f.write_at("optimizer.state.a.exp_avg_sq", 8, &[NAN; 2].concat());
        },
        Some((0, "exp_avg_sq", 2, 2, 6)),
    ),
];

#[test]
fn spoiled_and_legal_numbers() {
    let _alone = super::ALONE.lock();
    for (name, change, want) in ROWS {
        let mut file = Parts::good();
        change(&mut file);
        let checkpoint = super::open(&file.bytes()).unwrap().unwrap_or_else(|error| panic!("{name}: {error}"));
        let got = goes_round(&checkpoint).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        assert_eq!(got, *want, "{name}");
    }
}

/// Names that are paths, or unreadable text.
#[test]
fn any_name() {
    let _alone = super::ALONE.lock();
    for name in [
        "",
        "..",
        "../../etc/passwd",
        "/etc/passwd",
        "C:\\\\x",
        "b\\u0000",
        "\\n",
        "__metadata__",
        "b.exp_avg",
        "\\ud83d\\ude00",
    ] {
        let mut file = Parts::good();
        file.in_optimizer(r#"["a","b"]"#, &format!(r#"["a","{name}"]"#));
        for key in ["exp_avg", "exp_avg_sq", "max_exp_avg_sq", "step"] {
            file.rename(&format!("optimizer.state.b.{key}"), &format!("optimizer.state.{name}.{key}"));
        }
        let checkpoint = super::open(&file.bytes()).unwrap().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(checkpoint.outline().state.contains_key(&1), "{name}: its state was not found");
        goes_round(&checkpoint).unwrap_or_else(|problem| panic!("{name}: {problem}"));
    }
}

/// Writes what was read. With spoiled state the default is to refuse, with an error that reports the first spoiled
/// moment. Everything that is written, by default or by permission, reads back bit for bit.
pub fn goes_round(checkpoint: &Checkpoint) -> Result<Option<First>, String> {
    let dict = checkpoint.state_dict().map_err(|error| format!("not read: {error}"))?;
    let first = first(&dict);
    let contents = CheckpointContents::optimizer_only().keep(checkpoint);
    match (dict.to_safetensors(&contents), first) {
        (Ok(_), None) => {}
        (Err(Error::SpoiledState { key, count, elements, element, tensor, .. }), Some((id, own, ..))) => {
            let group = dict.param_groups.iter().find(|group| group.params.contains(&id)).ok_or("no group")?;
            let place = group.params.iter().position(|own| *own == id).unwrap_or_default();
            let name = group.param_names.as_ref().map(|names| format!("parameter \"{}\"", names[place]));
            if tensor.to_string() != name.unwrap_or(format!("parameter {id}")) {
                return Err(format!("{tensor} was refused instead of {id}"));
            }
            if Some((id, key, count, element, elements)) != first {
                return Err(format!("reported: {key}, {count} of {elements}, {element}, not {own} of {first:?}"));
            }
        }
        (got, want) => return Err(format!("spoiled is {want:?}, but writing returned {got:?}")),
    }
    let written =
        dict.to_safetensors(&contents.clone().allow_nonfinite()).map_err(|error| format!("not written: {error}"))?;
    let read = StateDict::from_safetensors(written.clone()).map_err(|error| format!("not read back: {error}"))?;
    if bits(&read) != bits(&dict) {
        return Err(format!("it reads back different: {read:?}"));
    }
    let again =
        read.to_safetensors(&contents.allow_nonfinite()).map_err(|error| format!("not written again: {error}"))?;
    if again == written { Ok(first) } else { Err("the second file differs".into()) }
}

/// A dict's first spoiled moment, found by other code than the library's.
fn first(dict: &StateDict) -> Option<First> {
    dict.state.iter().find_map(|(id, entry)| {
        let TensorState { exp_avg, exp_avg_sq, max_exp_avg_sq, .. } = entry;
        let squares = max_exp_avg_sq.as_deref().unwrap_or_default();
        let moments = [("exp_avg", &exp_avg[..]), ("exp_avg_sq", exp_avg_sq), ("max_exp_avg_sq", squares)];
        moments.into_iter().find_map(|(key, moment)| {
            let is_spoiled = |value: &f32| value.is_nan() || (value.is_infinite() && key == "exp_avg");
            let first = moment.iter().position(is_spoiled)?;
            let count = moment.iter().filter(|value| is_spoiled(value)).count();
            Some((*id, key, count as u64, first as u64, moment.len() as u64))
        })
    })
}
