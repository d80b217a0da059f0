//! Gradients and moments that do not fit.

use wgpu::BufferUsages as Usage;
use wgpu_adam::{Error, Moments, Param, TensorBuffer, ZeroGrad};

use super::{Case, Row, row};

/// A row about `set_grad` of `c`, which has 33 elements.
fn grad(
    name: &str,
    grad: fn(&Case<'_>) -> TensorBuffer,
    is_kind: fn(&Error) -> bool,
    kind: &'static str,
    text: &str,
) -> Row {
    let mistake = move |case: &mut Case<'_>| {
        let (id, grad) = (case.id("c"), grad(case));
        case.subject.adam.set_grad(id, grad)
    };
    Row { name: name.into(), mistake: Box::new(mistake), is_kind, kind, text: text.into() }
}

pub(super) fn rows() -> Vec<Row> {
    macro_rules! refused {
        ($name:expr, $grad:expr, $kind:pat, $text:expr $(,)?) => {
            grad($name, $grad, |error| matches!(error, $kind), stringify!($kind), $text)
        };
    }
    let mut rows = vec![
        refused!(
            "too small",
            |c| (&c.buffer(128)).into(),
            Error::BufferTooSmall { .. },
            "gradient of \"c\" has 33 f32 elements from byte 0 and needs 132 bytes, but its buffer has 128"
        ),
        refused!(
            "too small behind the offset",
            |c| (&c.buffer(132), 4).into(),
            Error::BufferTooSmall { .. },
            "from byte 4 and needs 136 bytes, but its buffer has 132"
        ),
        refused!(
            "without STORAGE",
            |c| (&c.buffer_for(Usage::COPY_DST)).into(),
            Error::BufferUsage { .. },
            "gradient of \"c\" lacks the usage"
        ),
        refused!(
            "no multiple of 4",
            |c| (&c.buffer(256), 3).into(),
            Error::UnalignedOffset { .. },
            "gradient of \"c\" begins at byte 3"
        ),
        refused!(
            "past everything",
            |c| (&c.buffer(256), u64::MAX - 3).into(),
            Error::BufferTooSmall { .. },
            "gradient of \"c\" has 33 f32 elements from byte 18446744073709551612"
        ),
        refused!(
            "over its own parameter",
            |c| (&c.subject.c.0).into(),
            Error::Overlap { .. },
            "parameter \"c\" and gradient of \"c\" overlap in one buffer, by 132 bytes from byte 0"
        ),
        refused!(
            "over another parameter",
            |c| c.pool(0),
            Error::Overlap { .. },
            "parameter \"d\" and gradient of \"c\" overlap in one buffer, by 68 bytes from byte 12"
        ),
    ];
    rows.push(row!(
        "a fill without COPY_DST",
        |c| c.subject.adam.record_zero_grad(c.encoder, ZeroGrad::Fill),
        Error::BufferUsage { .. },
        "gradient of \"e\" lacks the usage"
    ));
    if cfg!(not(target_family = "wasm")) {
        rows.push(row!(
            "of another device",
            |c| c.subject.adam.set_grad(c.id("c"), c.elsewhere),
            Error::Device { .. },
            "wgpu refused gradient of \"c\""
        ));
    }
    rows
}

/// Moments given for `c`, which has a max_exp_avg_sq, when it is replaced by five elements.
type Given = [Option<TensorBuffer>; 3];

fn from(name: &str, given: fn(&Case<'_>) -> Given, is_kind: fn(&Error) -> bool, kind: &'static str, text: &str) -> Row {
    let mistake = move |case: &mut Case<'_>| {
        let fitting = || TensorBuffer::from(&case.buffer(20));
        let [exp_avg, exp_avg_sq, max_exp_avg_sq] = given(case);
        let moments = Moments::From {
            exp_avg: exp_avg.unwrap_or_else(fitting),
            exp_avg_sq: exp_avg_sq.unwrap_or_else(fitting),
            max_exp_avg_sq,
        };
        let (id, param) = (case.id("c"), Param::new("c", [5], &case.buffer(20), &case.buffer(20)));
        case.subject.adam.record_replace_param(case.encoder, id, param, moments)
    };
    Row { name: name.into(), mistake: Box::new(mistake), is_kind, kind, text: text.into() }
}

pub(super) fn moments() -> Vec<Row> {
    macro_rules! refused {
        ($name:expr, $given:expr, $kind:pat, $text:expr $(,)?) => {
            from($name, $given, |error| matches!(error, $kind), stringify!($kind), $text)
        };
    }
    let mut rows = vec![
        refused!(
            "exp_avg too small",
            |c| [Some((&c.buffer(20), 4).into()), None, Some((&c.buffer(20)).into())],
            Error::BufferTooSmall { .. },
            "exp_avg of parameter \"c\" has 5 f32 elements from byte 4 and needs 24 bytes, but its buffer has 20"
        ),
        refused!(
            "exp_avg_sq without COPY_SRC",
            |c| [None, Some((&c.buffer_for(Usage::STORAGE)).into()), Some((&c.buffer(20)).into())],
            Error::BufferUsage { .. },
            "exp_avg_sq of parameter \"c\" lacks the usage"
        ),
        refused!(
            "max_exp_avg_sq at no multiple of 4",
            |c| [None, None, Some((&c.buffer(40), 2).into())],
            Error::UnalignedOffset { offset: 2, .. },
            "max_exp_avg_sq of parameter \"c\" begins at byte 2"
        ),
        refused!(
            "no max_exp_avg_sq",
            |_| [None, None, None],
            Error::MissingMoments { .. },
            "parameter \"c\" has a max_exp_avg_sq, and the moments given for it have none"
        ),
    ];
    let replaced = |names: [(&'static str, &'static str); 2]| {
        move |case: &mut Case<'_>| {
            let replace =
                |(id, name)| (case.id(id), Param::new(name, [2], &case.buffer(8), &case.buffer(8)), Moments::Keep);
            let both = names.map(replace);
            case.subject.adam.record_replace_params(case.encoder, both)
        }
    };
    if cfg!(not(target_family = "wasm")) {
        rows.push(refused!(
            "exp_avg_sq of another device",
            |c| [None, Some(c.elsewhere.into()), Some((&c.buffer(20)).into())],
            Error::Device { .. },
            "wgpu refused the copy of the moments of parameter \"c\""
        ));
    }
    rows.push(row!(
        "replaced twice",
        replaced([("a", "new"), ("a", "newer")]),
        Error::ReplacedTwice { .. },
        "parameter \"a\" is to be replaced twice in one call"
    ));
    rows.push(row!(
        "replaced by two of one name",
        replaced([("a", "new"), ("c", "new")]),
        Error::DuplicateName { .. },
        "two tensors are called \"new\""
    ));
    rows.push(row!(
        "two replaced by one range",
        |c| {
            let new = |name| Param::new(name, [6], c.pool(500), c.pool(600));
            let both = [(c.id("a"), new("a"), Moments::Keep), (c.id("b"), new("b"), Moments::Keep)];
            c.subject.adam.record_replace_params(c.encoder, both)
        },
        Error::Overlap { .. },
        "parameter \"a\" and parameter \"b\" overlap in one buffer, by 24 bytes from byte 2000"
    ));
    rows
}
