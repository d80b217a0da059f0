//! Counts the calls of wgpu that create an object or use the queue, in wgpu-core's own log: exact on every native
//! backend, including noop. wgpu's own counters only count live objects.

use std::cell::RefCell;
use std::collections::BTreeMap;

/// Beginnings of wgpu-core's log lines, and what they count.
pub const COUNTED: [(&str, &str); 11] = [
    ("Device::create_buffer", "create_buffer"),
    ("Device::create_bind_group ->", "create_bind_group"),
    ("Device::create_bind_group_layout ->", "create_bind_group_layout"),
    ("Device::create_pipeline_layout ->", "create_pipeline_layout"),
    ("Device::create_shader_module ->", "create_shader_module"),
    ("Device::create_compute_pipeline ->", "create_compute_pipeline"),
    ("Device::create_command_encoder ->", "create_command_encoder"),
    ("Queue::submit", "submit"),
    ("Device::poll", "poll"),
    ("Buffer::map_async", "map_async"),
    ("Queue::write_buffer", "write_buffer"),
];

/// How often each kind was called.
pub type Counts = BTreeMap<&'static str, u32>;

/// Beginnings of the log lines about an encoder's commands. They are logged when passes are encoded, at the latest by
/// `finish`.
const RECORDED: [&str; 3] = ["ComputePass::dispatch", "CommandEncoder::clear_", "CommandEncoder::copy_"];

thread_local! {
    static CALLS: RefCell<Counts> = const { RefCell::new(BTreeMap::new()) };
    static RECORDS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Counts log lines per thread.
struct Counter;

impl log::Log for Counter {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("wgpu_core")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = record.args().to_string();
            // A submit is logged when it begins and again when it returns.
            let counted = COUNTED.iter().filter(|(begin, _)| line.starts_with(begin) && !line.contains("returned"));
            for (_, name) in counted {
                CALLS.with_borrow_mut(|calls| *calls.entry(name).or_default() += 1);
            }
            if RECORDED.iter().any(|begin| line.starts_with(begin)) {
                RECORDS.with_borrow_mut(|records| records.push(line));
            }
        }
    }

    fn flush(&self) {}
}

/// The calls that `work` makes on this thread. wgpu-core's log stays on for the whole process.
pub fn calls<T>(work: impl FnOnce() -> T) -> (Counts, T) {
    // Setting the logger again fails, which is fine: it is the same logger.
    let _ = log::set_logger(&Counter);
    log::set_max_level(log::LevelFilter::Trace);
    CALLS.take();
    let result = work();
    (CALLS.take(), result)
}

/// The commands that `work` records, in order: dispatches with their grids, and the kinds of all others.
pub fn recorded(work: impl FnOnce()) -> Vec<String> {
    let (_, _) = calls(|| {
        RECORDS.take();
        work();
    });
    // The kind is followed by object numbers, which differ from run to run.
    let kind = |line: String| match line.split_once(' ') {
        Some((kind, _)) if !line.starts_with("ComputePass") => kind.to_owned(),
        _ => line,
    };
    RECORDS.take().into_iter().map(kind).collect()
}
