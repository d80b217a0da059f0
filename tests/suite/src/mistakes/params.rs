//! Parameters at invalid places, through every call that accepts them.

use wgpu::BufferUsages as Usage;
use wgpu_adam::{AdamConfig, Error, Moments, Param, ParamGroup, WgpuAdam};

use super::{Case, Row, row, subject::D};

/// A bad parameter: what is bad, the parameter, the pattern of the error, a part of the message.
type Bad = (&'static str, fn(&Case<'_>) -> Param, fn(&Error) -> bool, &'static str, &'static str);

macro_rules! bad {
    ($name:expr, $param:expr, $kind:pat, $text:expr $(,)?) => {
        ($name, $param, |error| matches!(error, $kind), stringify!($kind), $text)
    };
}

/// Bad parameters have unused names, unless the name is what is bad.
fn bad() -> Vec<Bad> {
    vec![
        bad!(
            "a buffer too small",
            |c| Param::new("bad", [11], (&c.buffer(44), 4), &c.buffer(44)),
            Error::BufferTooSmall { .. },
            "parameter \"bad\" has 11 f32 elements from byte 4 and needs 48 bytes, but its buffer has 44"
        ),
        bad!(
            "a gradient buffer too small",
            |c| Param::new("bad", [3, 4], &c.buffer(48), &c.buffer(44)),
            Error::BufferTooSmall { .. },
            "gradient of \"bad\" has 12 f32 elements from byte 0 and needs 48 bytes, but its buffer has 44"
        ),
        bad!(
            "a buffer without STORAGE",
            |c| Param::new("bad", [4], &c.buffer_for(Usage::COPY_DST), &c.buffer(16)),
            Error::BufferUsage { .. },
            "parameter \"bad\" lacks the usage"
        ),
        bad!(
            "a gradient buffer without STORAGE",
            |c| Param::new("bad", [4], &c.buffer(16), &c.buffer_for(Usage::UNIFORM | Usage::COPY_DST)),
            Error::BufferUsage { .. },
            "gradient of \"bad\" lacks the usage"
        ),
        bad!(
            "an offset that is no multiple of 4",
            |c| Param::new("bad", [1], (&c.buffer(40), 6), &c.buffer(4)),
            Error::UnalignedOffset { offset: 6, .. },
            "parameter \"bad\" begins at byte 6 of its buffer; the offset must be a multiple of 4"
        ),
        bad!(
            "a gradient's offset that is no multiple of 4",
            |c| Param::new("bad", [1], &c.buffer(4), (&c.buffer(40), 1)),
            Error::UnalignedOffset { offset: 1, .. },
            "gradient of \"bad\" begins at byte 1"
        ),
        bad!(
            "an offset past everything",
            |c| Param::new("bad", [2], (&c.buffer(40), u64::MAX - 3), &c.buffer(8)),
            Error::BufferTooSmall { .. },
            "parameter \"bad\" has 2 f32 elements from byte 18446744073709551612"
        ),
        bad!(
            "a gradient's offset past the end",
            |c| Param::new("bad", [0], &c.buffer(4), (&c.buffer(40), 44)),
            Error::BufferTooSmall { .. },
            "gradient of \"bad\" has 0 f32 elements from byte 44 and needs 44 bytes, but its buffer has 40"
        ),
        bad!(
            "a shape past everything",
            |c| Param::new("bad", [usize::MAX, usize::MAX, 3], &c.buffer(40), &c.buffer(4)),
            Error::ShapeTooLarge { .. },
            "parameter \"bad\" has the shape ["
        ),
        bad!(
            "its gradient over itself",
            |c| Param::new("bad", [50], c.pool(300), c.pool(349)),
            Error::Overlap { bytes: 4, offset: 1396, .. },
            "parameter \"bad\" and gradient of \"bad\" overlap in one buffer, by 4 bytes from byte 1396"
        ),
        bad!(
            "itself over another",
            |c| Param::new("bad", [2], c.pool(D.0 + D.2 - 1), &c.buffer(8)),
            Error::Overlap { bytes: 4, .. },
            "parameter \"bad\" overlap in one buffer, by 4 bytes"
        ),
        bad!(
            "the range of another under a new name",
            |c| Param::new("bad", [D.2 as usize], c.pool(D.0), c.pool(D.1)),
            Error::Overlap { bytes: 68, .. },
            "overlap in one buffer, by 68 bytes from byte 12; give each a range of its own"
        ),
        bad!(
            "itself over another's gradient",
            |c| Param::new("bad", [8], c.pool(D.1 - 1), &c.buffer(32)),
            Error::Overlap { bytes: 28, .. },
            "parameter \"bad\" and gradient of \"d\" overlap in one buffer, by 28 bytes"
        ),
        bad!(
            "its gradient over another",
            |c| Param::new("bad", [3], &c.buffer(12), c.pool(D.0 - 1)),
            Error::Overlap { bytes: 8, .. },
            "parameter \"d\" and gradient of \"bad\" overlap in one buffer, by 8 bytes"
        ),
        bad!(
            "itself in the padding of an arena",
            |c| {
                let a = c.subject.arena.param_buffer("a").expect("a is in the arena");
                Param::new("bad", [4], (a.buffer(), a.offset() + 48), &c.buffer(16))
            },
            Error::Overlap { bytes: 16, .. },
            "overlap in one buffer, by 16 bytes from byte 48"
        ),
        bad!(
            "a name that another has",
            |c| Param::new("b", [4], &c.buffer(16), &c.buffer(16)),
            Error::DuplicateName { .. },
            "two tensors are called \"b\""
        ),
        bad!(
            "no name among names",
            |c| Param::new("bad", [4], &c.buffer(16), &c.buffer(16)).unnamed(),
            Error::MixedNames { .. },
            "has none; name all parameters of an optimizer or none"
        ),
        bad!(
            "a buffer of another device",
            |c| Param::new("bad", [4], c.elsewhere, &c.buffer(16)),
            Error::Device { .. },
            "wgpu refused parameter \"bad\""
        ),
        bad!(
            "a gradient buffer of another device",
            |c| Param::new("bad", [4], &c.buffer(16), c.elsewhere),
            Error::Device { .. },
            "wgpu refused gradient of \"bad\""
        ),
        bad!(
            "a buffer that was destroyed",
            |c| {
                let destroyed = c.buffer(16);
                destroyed.destroy();
                Param::new("bad", [4], &destroyed, &c.buffer(16))
            },
            Error::Device { .. },
            "wgpu refused parameter \"bad\""
        ),
    ]
}

/// A call that accepts a parameter, after or among good ones.
type Way = (&'static str, fn(&mut Case<'_>, Param) -> Result<(), Error>);

const WAYS: [Way; 4] = [
    ("the constructor", |case, bad| {
        let mut params = case.subject.params();
        params.push(bad);
        WgpuAdam::new(&case.gpu.device, &case.gpu.queue, params, AdamConfig::default()).map(drop)
    }),
    ("an added group", |case, bad| {
        let good = Param::new("good", [4], &case.buffer(16), &case.buffer(16));
        case.subject.adam.add_param_group(ParamGroup::new([good, bad])).map(drop)
    }),
    ("a replacement", |case, bad| {
        let id = case.id("c");
        case.subject.adam.record_replace_param(case.encoder, id, bad, Moments::Keep)
    }),
    ("one of two replacements", |case, bad| {
        let good = Param::new("good", [4], &case.buffer(16), &case.buffer(16));
        let both = [(case.id("e"), good, Moments::Keep), (case.id("c"), bad, Moments::Clear)];
        case.subject.adam.record_replace_params(case.encoder, both)
    }),
];

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, param, is_kind, kind, text) in bad() {
        // In a browser `ready` reports the errors that only the device knows.
        if cfg!(target_family = "wasm") && kind.contains("Device") {
            continue;
        }
        for (way, give) in WAYS {
            let mistake = move |case: &mut Case<'_>| {
                let param = param(case);
                give(case, param)
            };
            let name = format!("{name}, in {way}");
            rows.push(Row { name, mistake: Box::new(mistake), is_kind, kind, text: text.into() });
        }
    }
    let twice = |case: &Case<'_>| {
        let param = Param::new("twice", [10], &case.buffer(40), &case.buffer(40)).unnamed();
        [param.clone(), param]
    };
    let overlap = "parameter 0 and parameter 1 overlap in one buffer, by 40 bytes from byte 0";
    rows.push(row!(
        "a parameter twice in a group",
        move |c| WgpuAdam::new(&c.gpu.device, &c.gpu.queue, twice(c), AdamConfig::default()).map(drop),
        Error::Overlap { .. },
        overlap
    ));
    rows.push(row!(
        "a parameter in two groups",
        move |c| {
            let groups = twice(c).map(|param| ParamGroup::new([param]));
            WgpuAdam::new(&c.gpu.device, &c.gpu.queue, groups, AdamConfig::default()).map(drop)
        },
        Error::Overlap { .. },
        overlap
    ));
    rows
}
