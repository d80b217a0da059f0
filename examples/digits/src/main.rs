//! Trains a classifier of handwritten digits on the GPU and compares its losses with torch's, in a terminal or on a
//! page.

#[cfg(not(target_family = "wasm"))]
mod terminal;

#[cfg(not(target_family = "wasm"))]
fn main() -> std::process::ExitCode {
    terminal::main(std::env::args().skip(1))
}

// The interface for the page, whose own code is in the folder web.
#[cfg(target_family = "wasm")]
mod web;

#[cfg(target_family = "wasm")]
fn main() {}
