//! What the tests of checkpoint files share.

pub mod parts;
