//! The adapters that the tests expect of a machine.

/// An adapter that the tests need on this kind of machine.
pub struct Expected {
    /// The beginning of its line in the listing, in lower case: the backend, and enough of the name to identify it.
    pub begins: &'static str,
    /// The Debian and Ubuntu packages that contain it; empty if it comes with the system.
    pub packages: &'static [&'static str],
}
