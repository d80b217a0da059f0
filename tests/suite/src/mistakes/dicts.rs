//! State dicts that do not fit, or contain invalid values.

use futures::FutureExt as _;
use wgpu_adam::{
    AdamConfig, Error, GradScalerState, Param, ParamGroup, StateDict, StateDictError, StateGroup, TensorState, WgpuAdam,
};

use super::shown;
use super::{Case, Row, row};

/// The ids, in the dict, of `a`, `b` and `c`.
const A: u64 = 0;
const B: u64 = 1;
const C: u64 = 3;

/// What is wrong with a dict, the change that makes it so, the pattern of the error, a part of the message.
type Wrong = (&'static str, fn(&mut StateDict), fn(&Error) -> bool, &'static str, &'static str);

macro_rules! wrong {
    ($name:expr, $change:expr, $kind:pat, $text:expr $(,)?) => {
        ($name, $change, |error| matches!(error, $kind), stringify!($kind), $text)
    };
}

fn entry(dict: &mut StateDict, id: u64) -> &mut TensorState {
    dict.state.get_mut(&id).expect("an entry of each parameter")
}

fn max_exp_avg_sq(dict: &mut StateDict) -> &mut Vec<f32> {
    entry(dict, C).max_exp_avg_sq.as_mut().expect("c has amsgrad")
}

fn names(dict: &mut StateDict, group: usize) -> &mut Vec<String> {
    dict.param_groups[group].param_names.as_mut().expect("all have names")
}

fn structure() -> Vec<Wrong> {
    vec![
        wrong!(
            "nothing at all",
            |d| *d = StateDict::default(),
            Error::StateDict(StateDictError::Groups { saved: 0, current: 4 }),
            "the state dict has 0 parameter groups, the optimizer 4"
        ),
        wrong!(
            "version 0",
            |d| d.version = 0,
            Error::StateDict(StateDictError::Version { version: 0, known: 1 }),
            "the state dict has version 0, and this crate knows versions 1 to 1"
        ),
        wrong!(
            "a group too few",
            |d| drop(d.param_groups.pop()),
            Error::StateDict(StateDictError::Groups { saved: 3, current: 4 }),
            "the state dict has 3 parameter groups, the optimizer 4; add or leave out groups first"
        ),
        wrong!(
            "a group too many",
            |d| d.param_groups.push(StateGroup::new(&AdamConfig::default(), vec![], None)),
            Error::StateDict(StateDictError::Groups { saved: 5, current: 4 }),
            "the state dict has 5 parameter groups, the optimizer 4"
        ),
        wrong!(
            "a parameter too few",
            |d| {
                d.state.remove(&2);
                d.param_groups[0].params.pop();
                names(d, 0).pop();
            },
            Error::StateDict(StateDictError::Names { .. }),
            "only the state dict has none, only the optimizer has \"none\"; give parameters the names of the dict, or load \
             with StateMatching::Partial what both have"
        ),
        wrong!(
            "a parameter too few, without names",
            |d| {
                d.state.remove(&2);
                d.param_groups[0].params.pop();
                d.param_groups.iter_mut().for_each(|group| group.param_names = None);
            },
            Error::StateDict(StateDictError::GroupSize { group: 0, saved: 2, current: 3 }),
            "group 0 of the state dict has 2 parameters, that of the optimizer 3"
        ),
        wrong!(
            "a parameter where there is none",
            |d| d.param_groups[3].params.push(9),
            Error::StateDict(StateDictError::GroupSize { group: 3, saved: 1, current: 0 }),
            "group 3 of the state dict has 1 parameter, that of the optimizer 0"
        ),
        wrong!(
            "a name too few",
            |d| drop(names(d, 2).pop()),
            Error::StateDict(StateDictError::GroupNames { group: 2, names: 1, params: 2 }),
            "group 2 of the state dict has 1 name for its 2 parameters"
        ),
        wrong!(
            "an id twice in a group",
            |d| d.param_groups[0].params[1] = A,
            Error::StateDict(StateDictError::Id { id: A, .. }),
            "the state dict has an entry for id 0, which its groups list twice"
        ),
        wrong!(
            "an id in two groups",
            |d| d.param_groups[2].params[1] = B,
            Error::StateDict(StateDictError::Id { id: B, .. }),
            "the state dict has an entry for id 1, which its groups list twice"
        ),
        wrong!(
            "an entry of nobody",
            |d| drop(d.state.insert(77, TensorState::default())),
            Error::StateDict(StateDictError::Id { id: 77, .. }),
            "the state dict has an entry for id 77, which none of its groups lists"
        ),
        wrong!(
            "one name that the optimizer does not have",
            |d| names(d, 0)[1] = "beta".into(),
            Error::StateDict(StateDictError::Names { .. }),
            "only the state dict has \"beta\", only the optimizer has \"b\"; give parameters the names of the dict"
        ),
        wrong!(
            "no lr",
            |d| d.param_groups[0].lr = None,
            Error::StateDict(StateDictError::MissingOption { group: 0, option: "lr" }),
            "has no lr"
        ),
        wrong!(
            "no betas",
            |d| d.param_groups[1].betas = None,
            Error::StateDict(StateDictError::MissingOption { group: 1, option: "betas" }),
            "group 1 of the state dict has no betas"
        ),
        wrong!(
            "no eps",
            |d| d.param_groups[2].eps = None,
            Error::StateDict(StateDictError::MissingOption { option: "eps", .. }),
            "has no eps"
        ),
        wrong!(
            "no weight_decay",
            |d| d.param_groups[3].weight_decay = None,
            Error::StateDict(StateDictError::MissingOption { group: 3, option: "weight_decay" }),
            "group 3 of the state dict has no weight_decay"
        ),
    ]
}

fn entries() -> Vec<Wrong> {
    vec![
        wrong!(
            "another shape of as many elements",
            |d| entry(d, B).shape = vec![5, 4],
            Error::StateDict(StateDictError::Entry { key: "shape", .. }),
            "shape of parameter \"b\" in the state dict is [5, 4] instead of [4, 5]"
        ),
        wrong!(
            "exp_avg too short",
            |d| entry(d, A).exp_avg.truncate(9),
            Error::StateDict(StateDictError::Entry { key: "exp_avg", .. }),
            "exp_avg of parameter \"a\" in the state dict has 9 elements instead of 10"
        ),
        wrong!(
            "exp_avg_sq too long",
            |d| entry(d, A).exp_avg_sq.push(0.0),
            Error::StateDict(StateDictError::Entry { key: "exp_avg_sq", .. }),
            "has 11 elements instead of 10"
        ),
        wrong!(
            "max_exp_avg_sq too short",
            |d| max_exp_avg_sq(d).truncate(1),
            Error::StateDict(StateDictError::Entry { key: "max_exp_avg_sq", .. }),
            "has 1 elements instead of 33"
        ),
        wrong!(
            "NaN in exp_avg",
            |d| entry(d, A).exp_avg[7] = f32::NAN,
            Error::SpoiledState { key: "exp_avg", count: 1, elements: 10, element: 7, .. },
            "exp_avg of parameter \"a\" is spoiled: 1 of its 10 elements are NaN or infinite, the first of them element 7: NaN"
        ),
        wrong!(
            "infinite exp_avg",
            |d| entry(d, A).exp_avg[..4].fill(f32::NEG_INFINITY),
            Error::SpoiledState { key: "exp_avg", count: 4, element: 0, .. },
            "4 of its 10 elements are NaN or infinite, the first of them element 0: -inf; nothing was loaded"
        ),
        wrong!(
            "NaN in exp_avg_sq",
            |d| entry(d, C).exp_avg_sq[32] = f32::NAN,
            Error::SpoiledState { key: "exp_avg_sq", count: 1, element: 32, .. },
            "exp_avg_sq of parameter \"c\" is spoiled: 1 of its 33 elements are NaN, the first of them element 32: NaN"
        ),
        wrong!(
            "negative infinite exp_avg_sq",
            |d| entry(d, C).exp_avg_sq[3] = f32::NEG_INFINITY,
            Error::StateDict(StateDictError::Entry { key: "exp_avg_sq", .. }),
            "exp_avg_sq of parameter \"c\" in the state dict is negative at element 3: -inf"
        ),
        wrong!(
            "negative exp_avg_sq",
            |d| entry(d, A).exp_avg_sq[4] = -1e-30,
            Error::StateDict(StateDictError::Entry { key: "exp_avg_sq", .. }),
            "exp_avg_sq of parameter \"a\" in the state dict is negative at element 4: -0.00"
        ),
        wrong!(
            "NaN in max_exp_avg_sq",
            |d| max_exp_avg_sq(d)[1] = f32::NAN,
            Error::SpoiledState { key: "max_exp_avg_sq", count: 1, element: 1, .. },
            "max_exp_avg_sq of parameter \"c\" is spoiled: 1 of its 33 elements are NaN, the first of them element 1: NaN; \
             nothing was loaded; load it all the same, as torch does, with LoadOptions::allow_nonfinite"
        ),
        wrong!(
            "negative max_exp_avg_sq",
            |d| max_exp_avg_sq(d)[1] = -1.0,
            Error::StateDict(StateDictError::Entry { key: "max_exp_avg_sq", .. }),
            "is negative at element 1: -1"
        ),
        wrong!(
            "moments before the first step",
            |d| entry(d, B).step = 0,
            Error::StateDict(StateDictError::Entry { key: "exp_avg", .. }),
            "exp_avg of parameter \"b\" in the state dict has taken no step and is not zero at element 0"
        ),
        wrong!(
            "a step past f64's whole numbers",
            |d| entry(d, A).step = (1 << 53) + 1,
            Error::StateDict(StateDictError::Entry { key: "step", .. }),
            "step of parameter \"a\" in the state dict is 9007199254740993; it must be at most 2^53"
        ),
        wrong!(
            "the last step that a u64 counts",
            |d| entry(d, C).step = u64::MAX,
            Error::StateDict(StateDictError::Entry { key: "step", .. }),
            "step of parameter \"c\" in the state dict is 18446744073709551615"
        ),
        wrong!(
            "no max_exp_avg_sq",
            |d| entry(d, C).max_exp_avg_sq = None,
            Error::StateDict(StateDictError::Entry { key: "max_exp_avg_sq", .. }),
            "max_exp_avg_sq of parameter \"c\" in the state dict is missing, and the group uses amsgrad"
        ),
        wrong!(
            "amsgrad where nobody recorded it",
            |d| d.param_groups[0].amsgrad = Some(true),
            Error::StateDict(StateDictError::Entry { key: "max_exp_avg_sq", .. }),
            "max_exp_avg_sq of parameter \"a\" in the state dict is missing, and the group uses amsgrad"
        ),
    ]
}

/// Sets a number of a loss scale.
type Set = fn(&mut GradScalerState, f64);

/// Invalid values of a loss scale's numbers. Other tests check that the current scale does not change.
const SCALERS: [(&str, &[f64], Set); 5] = [
    ("scale", &[0.0, -2.0, f64::NAN, f64::INFINITY, 1e39, 1e-39, 1e-60], |s, value| s.scale = value),
    ("growth_factor", &[1.0, -2.0, f64::NAN, f64::INFINITY, 1.0 + 1e-9], |s, value| s.growth_factor = value),
    ("backoff_factor", &[0.0, 1.0, -0.5, f64::NAN, 1e-60, 1.0 - 1e-9], |s, value| s.backoff_factor = value),
    ("growth_interval", &[0.0], |s, value| s.growth_interval = value as u32),
    ("growth_tracker", &[2147483648.0, 4294967295.0], |s, value| s.growth_tracker = value as u32),
];

fn scalers() -> Vec<Row> {
    let values = SCALERS.iter().flat_map(|(option, values, set)| values.iter().map(move |value| (option, *value, set)));
    let row = |(option, value, set): (&&str, f64, &'static Set)| {
        let mistake = move |case: &mut Case<'_>| {
            let (growth_factor, backoff_factor, growth_interval, growth_tracker) = (2.0, 0.5, 100, 3);
            let mut scaler =
                GradScalerState { scale: 1024.0, growth_factor, backoff_factor, growth_interval, growth_tracker };
            set(&mut scaler, value);
            let dict = StateDict { grad_scaler: Some(scaler), ..case.dict.clone() };
            case.subject.adam.load_state_dict(&dict).now_or_never().expect("a refusal waits for nothing")
        };
        let text = format!("invalid grad_scaler.{option}: {}; it must be ", shown(value));
        row!(format!("a {option} of {value}"), mistake, Error::InvalidOption { group: None, .. }, text)
    };
    values.map(row).collect()
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = scalers();
    for (name, change, is_kind, kind, text) in structure().into_iter().chain(entries()) {
        let mistake = move |case: &mut Case<'_>| {
            let mut dict = case.dict.clone();
            change(&mut dict);
            case.subject.adam.load_state_dict(&dict).now_or_never().expect("a refusal waits for nothing")
        };
        rows.push(Row { name: name.into(), mistake: Box::new(mistake), is_kind, kind, text: text.into() });
    }
    rows.push(row!(
        "a name twice, for an optimizer without names",
        |c| {
            let param = || Param::new("", [1], &c.buffer(4), &c.buffer(4)).unnamed();
            let group = ParamGroup::new([param(), param()]);
            let mut adam = WgpuAdam::new(&c.gpu.device, &c.gpu.queue, group, AdamConfig::default())?;
            let names = Some(vec!["w".into(), "w".into()]);
            let group = StateGroup::new(&AdamConfig::default(), vec![0, 1], names);
            let dict = StateDict { param_groups: vec![group], ..Default::default() };
            let refused = adam.load_state_dict(&dict).now_or_never().expect("a refusal waits for nothing");
            assert!(adam.find("w").is_none(), "a name was taken from a dict that was refused");
            refused
        },
        Error::DuplicateName { .. },
        "two tensors are called \"w\""
    ));
    rows.push(row!(
        "a name twice, for an optimizer with names",
        |c| {
            let mut dict = c.dict.clone();
            names(&mut dict, 0)[1] = "a".into();
            c.subject.adam.load_state_dict(&dict).now_or_never().expect("a refusal waits for nothing")
        },
        Error::DuplicateName { .. },
        "called \"a\""
    ));
    rows
}
