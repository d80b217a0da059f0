//! Prints one line for each wgpu adapter that supports compute shaders. Exits with 1 if there is none.

use std::process::ExitCode;

use wgpu_adam_suite::adapter::{adapters, describe};

fn main() -> ExitCode {
    let found = pollster::block_on(adapters());
    for adapter in &found {
        println!("{}", describe(&adapter.get_info()));
    }
    if found.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
