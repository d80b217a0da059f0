//! Turns a program for browsers into a wasm file and its JavaScript module: `xtask-bindgen [--strip-names] WASM
//! FOLDER`.
//!
//! Function names are a third of the file. Backtraces need them, users do not.

use anyhow::{Result, bail};
use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (names, wasm, folder) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--strip-names", wasm, folder] => (false, wasm, folder),
        [wasm, folder] => (true, wasm, folder),
        _ => bail!("usage: xtask-bindgen [--strip-names] WASM FOLDER"),
    };
    Bindgen::new()
        .input_path(wasm)
        .web(true)?
        .omit_default_module_path(false)
        .typescript(false)
        .remove_name_section(!names)
        .remove_producers_section(!names)
        .generate(folder)
}
