//! The folders of the pages under test.

use std::env;
use std::path::PathBuf;

/// Set by xtask after it has built the pages: Cargo's target folder, which has a folder for each page.
const PAGES: &str = "WGPU_ADAM_PAGES";

/// Why tests of pages are reported as ignored if [`pages`] returns none.
pub const NO_PAGES: &str = "`cargo xtask test` builds the pages and finds a browser";

/// The folder of a page that xtask has built, such as `web`; `None` in a run without tests of pages.
pub fn pages(name: &str) -> Option<PathBuf> {
    env::var_os(PAGES).filter(|folder| !folder.is_empty()).map(|folder| PathBuf::from(folder).join(name))
}
