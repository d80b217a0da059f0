//! Turns a program for browsers into a wasm file and the JavaScript module beside it: `xtask-bindgen WASM FOLDER`.

use anyhow::{Result, bail};
use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [wasm, folder] = arguments.as_slice() else {
        bail!("usage: xtask-bindgen WASM FOLDER");
    };
    Bindgen::new().input_path(wasm).web(true)?.omit_default_module_path(false).typescript(false).generate(folder)
}
