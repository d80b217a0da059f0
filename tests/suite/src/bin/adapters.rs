//! Prints one line for each wgpu adapter that runs compute shaders; exits with 1 where there is none.

use std::process::ExitCode;

use wgpu::DownlevelFlags;
use wgpu_adam_suite::adapter::{adapters, describe};

fn main() -> ExitCode {
    let mut found = pollster::block_on(adapters());
    found.retain(|adapter| adapter.get_downlevel_capabilities().flags.contains(DownlevelFlags::COMPUTE_SHADERS));
    for adapter in &found {
        println!("{}", describe(&adapter.get_info()));
    }
    if found.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
