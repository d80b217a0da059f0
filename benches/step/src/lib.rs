//! The parts of the benchmark. `cargo xtask bench` (this crate's program), `cargo bench` (`benches/`) and the
//! comparison with peers (`benches/peers`) use them. See `benches/NOTES.md` for the method.

pub mod adam;
mod count;
pub mod device;
pub mod host;
pub mod json;
/// The library's own module, so that the handwritten loop stays in step with the library's shaders.
#[allow(dead_code, reason = "only a part of the layout is used here")]
#[path = "../../../src/layout.rs"]
mod layout;
pub mod models;
pub mod options;
pub mod rounds;
pub mod rows;
/// The library's own module, because the yardsticks share elements in the same way.
#[allow(dead_code, reason = "only a part of the tuning is used here")]
#[path = "../../../src/plan/sharing.rs"]
mod sharing;
pub mod table;
pub mod yardstick;
