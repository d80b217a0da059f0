//! The tables, printed as results arrive.

use crate::host::{Making, Recording};
use crate::rounds::Spread;
use crate::rows::{COPY, Measured, ONE_TENSOR};

pub const UNDER_ROWS: &str = "\
ms: wall time of encoding one step into a new encoder, submitting it and waiting for it: median, least, most. GB/s by
the median. Ratios: median of the rounds' own; contenders take turns within a round. gpu: by timestamps around them.
copy: a kernel that reads and writes exactly what a step does (reads 4 planes and writes 3, 28 bytes an element; with
amsgrad 5 and 4, 36 bytes), over one tensor of the row's total length: workgroups of 256, as many vec4s an invocation as
a step has there, indexed by workgroup and local index. one: a step over one tensor of the row's total length.";

pub const UNDER_HOST: &str = "\
us: median (least) of recording, of finishing the encoder, and of giving and taking gradients before. per: recording and
finishing, a tensor. Nothing is submitted. The loops of wgpu calls are over 1,000 tensors in buffers of their own:
the same calls are three set_bind_group and a dispatch a tensor, the least one set_bind_group and a dispatch.";

pub fn rows_header() -> String {
    format!(
        "{:<40} {:>10} {:>7} {:>6} {:>5} {:>4} {:>8} {:>8} {:>8} {:>6} {:>6} {:>6} {:>8} {:>10}  {}",
        "step",
        "elements",
        "tensors",
        "groups",
        "disp.",
        "B/el",
        "ms",
        "least",
        "most",
        "GB/s",
        "x copy",
        "x one",
        "gpu ms",
        "gpu x copy",
        "beside"
    )
}

pub fn row(row: &Measured) -> String {
    let beside = |name| row.beside.iter().find(|beside| beside.name == name);
    let ratio = |name| number(beside(name).map(|beside| beside.ratio.median), 2);
    let gpu_ratio = beside(COPY).and_then(|copy| copy.gpu_ratio).map(|ratio| ratio.median);
    let others = row.beside.iter().filter(|beside| ![COPY, ONE_TENSOR].contains(&beside.name));
    let others = others.map(|other| format!("{:.2} x {}", other.ratio.median, other.name)).collect::<Vec<_>>();
    let Spread { median, min, max } = row.milliseconds;
    format!(
        "{:<40} {:>10} {:>7} {:>6} {:>5} {:>4} {median:>8.3} {min:>8.3} {max:>8.3} {:>6.2} {:>6} {:>6} {:>8} {:>10}  {}",
        row.name,
        row.elements,
        row.tensors,
        row.groups,
        row.dispatches.to_string(),
        row.bytes_per_element,
        row.gigabytes_per_second,
        ratio(COPY),
        ratio(ONE_TENSOR),
        number(row.gpu_milliseconds.map(|gpu| gpu.median), 3),
        number(gpu_ratio, 2),
        others.join(", "),
    )
    .trim_end()
    .to_owned()
}

pub fn recordings_header() -> String {
    format!(
        "{:<34} {:>5} {:>17} {:>17} {:>17} {:>6} {:>10}  {}",
        "recording a step", "disp.", "record us", "finish us", "gradients us", "per", "state B/el", "calls of wgpu"
    )
}

pub fn recording(row: &Recording) -> String {
    let spread = |spread: Spread| format!("{:.1} ({:.1})", spread.median, spread.min);
    let each = (row.record_microseconds.median + row.finish_microseconds.median) / row.tensors as f64;
    let calls: Vec<String> = row.calls.iter().map(|(call, count)| format!("{count} {call}")).collect();
    format!(
        "{:<34} {:>5} {:>17} {:>17} {:>17} {each:>6.2} {:>10}  {}",
        row.name,
        row.dispatches.to_string(),
        spread(row.record_microseconds),
        spread(row.finish_microseconds),
        spread(row.prepare_microseconds),
        number(row.state_bytes_per_element, 3),
        calls.join(", "),
    )
}

pub fn makings_header() -> String {
    format!("{:<34} {:>8} {:>8} {:>8}", "making", "ms", "least", "most")
}

pub fn making(row: &Making) -> String {
    let Spread { median, min, max } = row.milliseconds;
    format!("{:<34} {median:>8.3} {min:>8.3} {max:>8.3}", row.name)
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".into(), |value| format!("{value:.digits$}"))
}
