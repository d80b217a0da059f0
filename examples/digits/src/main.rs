//! Trains a classifier of handwritten digits on the GPU and lays its losses over torch's.

// A page in a browser uses the library part and brings a main of its own.
#[cfg(not(target_family = "wasm"))]
mod terminal;

#[cfg(not(target_family = "wasm"))]
fn main() -> std::process::ExitCode {
    terminal::main(std::env::args().skip(1))
}

#[cfg(target_family = "wasm")]
fn main() {}
