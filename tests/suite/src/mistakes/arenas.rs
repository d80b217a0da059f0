//! Arenas that cannot be created, and tensors that an arena does not have.

use wgpu_adam::{Error, TensorArena};

use super::{Case, Row, row};

fn arena(case: &Case<'_>, tensors: Vec<(&'static str, Vec<usize>)>) -> Result<(), Error> {
    TensorArena::new(&case.gpu.device, tensors).map(drop)
}

/// A method that takes a tensor's name.
type OfTensor = (&'static str, fn(&Case<'_>, &TensorArena, &str) -> Result<(), Error>);

const OF_TENSOR: [OfTensor; 6] = [
    ("param", |_, arena, name| arena.param(name).map(drop)),
    ("grad", |_, arena, name| arena.grad(name).map(drop)),
    ("param_buffer", |_, arena, name| arena.param_buffer(name).map(drop)),
    ("grad_buffer", |_, arena, name| arena.grad_buffer(name).map(drop)),
    ("write_param", |c, arena, name| arena.write_param(&c.gpu.queue, name, &[9.0; 10])),
    ("write_grad", |c, arena, name| arena.write_grad(&c.gpu.queue, name, &[9.0; 10])),
];

pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![
        row!(
            "a name twice",
            |c| arena(c, vec![("w", vec![1]), ("v", vec![1]), ("w", vec![2])]),
            Error::DuplicateName { .. },
            "two tensors are called \"w\""
        ),
        row!(
            "a shape past everything",
            |c| arena(c, vec![("w", vec![usize::MAX, usize::MAX, 9])]),
            Error::ShapeTooLarge { .. },
            "tensor \"w\" has the shape ["
        ),
        row!(
            "shapes that are too large together",
            |c| arena(c, vec![("w", vec![1 << 31, 1 << 30]), ("v", vec![1 << 31, 1 << 30])]),
            Error::ShapeTooLarge { .. },
            "tensor \"v\" has the shape [2147483648, 1073741824], which is too large"
        ),
        row!(
            "more than a buffer holds",
            |c| arena(c, vec![("w", vec![c.gpu.device.limits().max_buffer_size as usize / 4, 2])]),
            Error::DeviceLimit { limit: "max_buffer_size", .. },
            "the arena needs max_buffer_size >= "
        ),
        row!(
            "too many values for a parameter",
            |c| c.subject.arena.write_param(&c.gpu.queue, "a", &[9.0; 11]),
            Error::WrongLength { expected: 10, got: 11, .. },
            "parameter \"a\" has 10 elements, but 11 were given"
        ),
        row!(
            "too few values for a gradient",
            |c| c.subject.arena.write_grad(&c.gpu.queue, "b", &[9.0; 19]),
            Error::WrongLength { expected: 20, got: 19, .. },
            "gradient of \"b\" has 20 elements, but 19 were given"
        ),
        row!(
            "values for a tensor that has none",
            |c| c.subject.arena.write_param(&c.gpu.queue, "none", &[9.0]),
            Error::WrongLength { expected: 0, got: 1, .. },
            "parameter \"none\" has 0 elements, but 1 were given"
        ),
    ];
    for (method, call) in OF_TENSOR {
        let mistake = move |case: &mut Case<'_>| call(case, &case.subject.arena, "nobody");
        let text = "the arena has no tensor \"nobody\"";
        rows.push(row!(format!("{method} of a tensor it does not have"), mistake, Error::NoSuchTensor { .. }, text));
    }
    rows
}
