//! Where the pages to test lie.

use std::env;
use std::path::PathBuf;

/// Set by xtask when it has built the pages: Cargo's target folder, in which each has a folder.
const PAGES: &str = "WGPU_ADAM_PAGES";

/// Why tests of pages are reported as ignored where [`pages`] has none.
pub const NO_PAGES: &str = "`cargo xtask test` builds the pages and finds a browser";

/// The folder of a page that xtask has built, such as `web`; none in a run that is not to test pages.
pub fn pages(name: &str) -> Option<PathBuf> {
    env::var_os(PAGES).filter(|folder| !folder.is_empty()).map(|folder| PathBuf::from(folder).join(name))
}
