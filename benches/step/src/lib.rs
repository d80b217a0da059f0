//! The parts of the benchmark: `cargo xtask bench` (this crate's program), `cargo bench` (`benches/`) and the comparison
//! with peers (`benches/peers`) are made of them. See `benches/NOTES.md` for the method.

pub mod adam;
mod count;
pub mod device;
pub mod host;
pub mod json;
/// The library's own, so that the loop by hand does not fall behind its shaders.
#[allow(dead_code, reason = "of what host and shaders agree on, some is used here")]
#[path = "../../../src/layout.rs"]
mod layout;
pub mod models;
pub mod options;
pub mod rounds;
pub mod rows;
/// The library's own, for the yardsticks share alike.
#[allow(dead_code, reason = "of what is tuned, some is used here")]
#[path = "../../../src/plan/sharing.rs"]
mod sharing;
pub mod table;
pub mod yardstick;
