//! What the tests expect of a machine.

/// An adapter that the tests want on this kind of machine.
pub struct Expected {
    /// What its line in the listing begins with, in lower case: the backend and as much of the name as tells it apart.
    pub begins: &'static str,
    /// Debian's and Ubuntu's packages that bring it; none where it comes with the system.
    pub packages: &'static [&'static str],
}
