//! Serves a folder on 127.0.0.1 until it is stopped: `serve FOLDER [PORT]`.

use std::path::Path;

use anyhow::{Context, Result};
use wgpu_adam_browser::Server;

/// Where the first server is found; further ones take free ports.
const PORT: u16 = 8080;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().context("usage: serve FOLDER [PORT]")?;
    let mounts = [("/", Path::new(&folder))];
    let server = match arguments.next() {
        Some(port) => Server::start_on(port.parse().with_context(|| format!("{port} is no port"))?, &mounts)?,
        None => Server::start_on(PORT, &mounts).or_else(|_| Server::start(&mounts))?,
    };
    println!("{} (Ctrl-C stops)", server.url("/"));
    loop {
        std::thread::park();
    }
}
