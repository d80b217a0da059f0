//! Parameters and groups that the optimizer does not have, and amsgrad that is turned on too late.

use wgpu_adam::{Error, Moments, Param, ParamId, WgpuAdam};

use super::{Case, Row, row, subject::GROUPS};

/// A method that takes an id.
type OfParam = (&'static str, fn(&mut Case<'_>, ParamId) -> Result<(), Error>);

const OF_PARAM: [OfParam; 8] = [
    ("set_grad", |c, id| c.subject.adam.set_grad(id, &c.buffer(4096))),
    ("set_grad_to_none", |c, id| c.subject.adam.set_grad_to_none(id)),
    ("state", |c, id| c.subject.adam.state(id).map(drop)),
    ("param", |c, id| c.subject.adam.param(id).map(drop)),
    ("remove_param", |c, id| c.subject.adam.remove_param(id)),
    ("record_reset_state", |c, id| c.subject.adam.record_reset_state(c.encoder, id)),
    ("record_replace_param", |c, id| {
        let new = Param::new("new", [1], &c.buffer(4), &c.buffer(4));
        c.subject.adam.record_replace_param(c.encoder, id, new, Moments::Keep)
    }),
    ("record_replace_params, behind a good one", |c, id| {
        let new = |name| Param::new(name, [1], &c.buffer(4), &c.buffer(4));
        let both = [(c.id("a"), new("new"), Moments::Clear), (id, new("newer"), Moments::Clear)];
        c.subject.adam.record_replace_params(c.encoder, both)
    }),
];

/// A method that takes the number of a group.
type OfGroup = (&'static str, fn(&mut WgpuAdam, usize) -> Result<(), Error>);

const OF_GROUP: [OfGroup; 8] = [
    ("remove_group", WgpuAdam::remove_group),
    ("set_lr", |adam, group| adam.set_lr(group, 0.1)),
    ("set_betas", |adam, group| adam.set_betas(group, (0.5, 0.5))),
    ("set_eps", |adam, group| adam.set_eps(group, 0.0)),
    ("set_weight_decay", |adam, group| adam.set_weight_decay(group, 0.5)),
    ("set_maximize", |adam, group| adam.set_maximize(group, true)),
    ("set_decoupled_weight_decay", |adam, group| adam.set_decoupled_weight_decay(group, true)),
    ("set_amsgrad", |adam, group| adam.set_amsgrad(group, true)),
];

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (method, call) in OF_PARAM {
        let text = "this parameter id belongs to another optimizer or to a removed parameter";
        let foreign = move |case: &mut Case<'_>| call(case, case.foreign);
        rows.push(row!(format!("{method} of another optimizer's parameter"), foreign, Error::NoSuchParam, text));
        let removed = move |case: &mut Case<'_>| call(case, case.id("gone"));
        rows.push(row!(format!("{method} of a removed parameter"), removed, Error::NoSuchParam, text));
    }
    for (method, call) in OF_GROUP {
        for group in [GROUPS, usize::MAX] {
            let mistake = move |case: &mut Case<'_>| call(&mut case.subject.adam, group);
            let text = format!("no parameter group {group}: there are 4, numbered from 0");
            rows.push(row!(
                format!("{method} of group {group}"),
                mistake,
                Error::NoSuchGroup { count: GROUPS, .. },
                text
            ));
        }
    }
    rows.push(row!(
        "add_param to group 4",
        |c| c.subject.adam.add_param(GROUPS, Param::new("new", [1], &c.buffer(4), &c.buffer(4))).map(drop),
        Error::NoSuchGroup { group: GROUPS, .. },
        "no parameter group 4: there are 4"
    ));
    for (group, tensor) in [(0, "a"), (2, "d")] {
        let mistake = move |case: &mut Case<'_>| case.subject.adam.set_amsgrad(group, true);
        let text = format!("amsgrad cannot be switched on in group {group}: parameter \"{tensor}\" has taken ");
        rows.push(row!(format!("amsgrad late in group {group}"), mistake, Error::AmsgradWithoutHistory { .. }, text));
    }
    rows.push(row!(
        "an error of step_with's closure",
        |c| {
            let grads = c.subject.c.1.clone();
            c.subject.adam.step_with(|adam, encoder| {
                encoder.clear_buffer(&grads, 0, None);
                adam.set_lr(7, 0.1)
            })
        },
        Error::NoSuchGroup { group: 7, .. },
        "no parameter group 7"
    ));
    rows
}
