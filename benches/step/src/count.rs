//! Counts calls of wgpu. wgpu-core's log is on only while counting, because it costs time.

pub use wgpu_adam_suite::calls::Counts;

/// The calls that `work` makes on this thread.
pub fn calls<T>(work: impl FnOnce() -> T) -> (Counts, T) {
    let counted = wgpu_adam_suite::calls::calls(work);
    log::set_max_level(log::LevelFilter::Off);
    counted
}
