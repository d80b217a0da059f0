//! Names the browser that tests are run in and its WebGPU adapter; fails where there is none, with the reason.

use anyhow::{Result, bail};
use serde_json::Value;
use wgpu_adam_browser::{Browser, Look, Server};

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("index.html"), "<!doctype html><link rel=icon href=data:,>")?;
    let server = Server::start(&[("/", folder.path())])?;
    let browser = Browser::start()?;
    let tab = browser.open(&server.url("/"), Look::WIDE)?;
    let adapter: Value = tab.eval(
        "(async () => {
            const adapter = await navigator.gpu?.requestAdapter();
            const { vendor, architecture, device, description } = adapter?.info ?? {};
            return adapter && [vendor, architecture, device, description].filter(Boolean).join(' ');
        })()",
    )?;
    let Some(adapter) = adapter.as_str() else {
        bail!("{} gives no WebGPU adapter", browser.name());
    };
    println!("{}, {}", browser.name(), if adapter.is_empty() { "an adapter without a name" } else { adapter });
    Ok(())
}
