//! Prints the browser that tests run in and its WebGPU adapter. Fails with the reason if there is none.

use anyhow::{Result, bail};
use wgpu_adam_browser::{Browser, Look, Server};

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("index.html"), "<!doctype html><link rel=icon href=data:,>")?;
    let server = Server::start(&[("/", folder.path())])?;
    let browser = Browser::start()?;
    let tab = browser.open(&server.url("/"), Look::WIDE)?;
    let Some(adapter) = tab.adapter()? else {
        bail!("{} gives no WebGPU adapter", browser.name());
    };
    println!("{}, {adapter}", browser.name());
    Ok(())
}
