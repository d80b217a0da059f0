//! Hyperparameters out of range, through every call that accepts them.

use futures::FutureExt as _;
use wgpu_adam::{AdamConfig, Error, ParamGroup, StateGroup, WgpuAdam};

use super::shown;
use super::{Case, Row, row};

/// Values of an option that are refused, and the option's setter.
struct Refused {
    option: &'static str,
    values: &'static [f64],
    set: fn(&mut AdamConfig, f64),
}

const AT_LEAST_0: &[f64] = &[-1.0, -1e-300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e39];
const BETAS: &[f64] = &[-0.1, 1.0, 1.5, f64::NAN, f64::INFINITY, 1.0 - 1e-9];

const TABLE: [Refused; 5] = [
    Refused { option: "lr", values: AT_LEAST_0, set: |config, value| config.lr = value },
    Refused { option: "eps", values: AT_LEAST_0, set: |config, value| config.eps = value },
    Refused { option: "weight_decay", values: AT_LEAST_0, set: |config, value| config.weight_decay = value },
    Refused { option: "beta1", values: BETAS, set: |config, value| config.betas.0 = value },
    Refused { option: "beta2", values: BETAS, set: |config, value| config.betas.1 = value },
];

/// A call that accepts options: its name, the group in the error, and the call.
type Way = (&'static str, Option<usize>, fn(&mut Case<'_>, AdamConfig) -> Result<(), Error>);

const WAYS: [Way; 5] = [
    ("the constructor", None, |case, config| new(case, ParamGroup::new(case.subject.params()), config)),
    ("a group of the constructor", Some(0), |case, config| new(case, group(case, &config), AdamConfig::default())),
    ("an added group", Some(4), |case, config| case.subject.adam.add_param_group(group(case, &config)).map(drop)),
    ("a setter", Some(1), |case, config| {
        let (adam, good) = (&mut case.subject.adam, AdamConfig::default());
        let AdamConfig { lr, betas, eps, weight_decay, .. } = config;
        // The option that differs from its default. NaN differs from everything.
        match config {
            _ if lr != good.lr => adam.set_lr(1, lr),
            _ if betas != good.betas => adam.set_betas(1, betas),
            _ if eps != good.eps => adam.set_eps(1, eps),
            _ => adam.set_weight_decay(1, weight_decay),
        }
    }),
    ("a state dict", Some(1), |case, config| {
        let mut dict = case.dict.clone();
        let saved = &mut dict.param_groups[1];
        *saved = StateGroup {
            amsgrad: saved.amsgrad,
            ..StateGroup::new(&config, saved.params.clone(), saved.param_names.clone())
        };
        case.subject.adam.load_state_dict(&dict).now_or_never().expect("a refusal waits for nothing")
    }),
];

fn new(case: &Case<'_>, group: ParamGroup, config: AdamConfig) -> Result<(), Error> {
    WgpuAdam::new(&case.gpu.device, &case.gpu.queue, group, config).map(drop)
}

fn group(case: &Case<'_>, config: &AdamConfig) -> ParamGroup {
    let param = wgpu_adam::Param::new("new", [4], &case.buffer(16), &case.buffer(16));
    ParamGroup::new([param]).lr(config.lr).betas(config.betas).eps(config.eps).weight_decay(config.weight_decay)
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for Refused { option, values, set } in TABLE {
        for &value in values {
            for (way, group, give) in WAYS {
                let mistake = move |case: &mut Case<'_>| {
                    let mut config = AdamConfig::default();
                    set(&mut config, value);
                    give(case, config)
                };
                let of = group.map_or_else(String::new, |group| format!(" of group {group}"));
                let text = format!("invalid {option}{of}: {}; it must be ", shown(value));
                rows.push(row!(format!("{option} = {value} in {way}"), mistake, Error::InvalidOption { .. }, text));
            }
        }
    }
    rows
}
