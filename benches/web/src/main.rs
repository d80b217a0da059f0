//! The step in a browser, beside TensorFlow.js. Compiled for the page, this is what the page measures; compiled
//! natively, it opens the page and prints. `cargo xtask bench --web` builds and runs both.

#[cfg(target_family = "wasm")]
mod page;
#[cfg(not(target_family = "wasm"))]
mod printed;

#[cfg(not(target_family = "wasm"))]
fn main() -> std::process::ExitCode {
    printed::main()
}

#[cfg(target_family = "wasm")]
fn main() {}
