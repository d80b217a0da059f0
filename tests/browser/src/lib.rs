//! A headless Chromium for tests of pages, driven like a person drives it.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use std::time::Duration;
//! use wgpu_adam_browser::{Browser, Look, Server};
//!
//! let server = Server::start(&[("/", "target/web".as_ref())])?;
//! let browser = Browser::start()?;
//! let tab = browser.open(&server.url("/?autostart=1"), Look::WIDE)?;
//! tab.wait_for("document.body.dataset.state === 'done'", Duration::from_secs(60))?;
//! let losses: Vec<f32> = tab.eval("Array.from(window.losses)")?;
//! tab.click("#reset")?;
//! tab.screenshot("target/web-shots/after-reset.png")?;
//! tab.check_clean()?;
//! # Ok(()) }
//! ```
//!
//! It uses the DevTools protocol, which every Chromium has, so no driver program must match the version. Everything is
//! synchronous and runs on one thread. A test that needs a separate browser starts one (about a second).

mod browser;
mod devtools;
mod find;
mod input;
mod look;
mod messages;
mod pages;
mod tab;

pub use browser::Browser;
pub use find::find;
pub use look::{Look, Scheme};
pub use messages::{Kind, Message};
pub use pages::{NO_PAGES, pages};
pub use tab::Tab;
pub use xtask_serve::Server;
