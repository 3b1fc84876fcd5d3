//! `bind MODULE FOLDER` writes the JavaScript and the WebAssembly that a page loads.
use anyhow::{Context, Result};
use std::env;
use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let usage = "usage: bind MODULE FOLDER";
    let (module, folder) = (arguments.next().context(usage)?, arguments.next().context(usage)?);
    let mut bindgen = Bindgen::new();
    bindgen.input_path(module).web(true)?.typescript(false).omit_default_module_path(false);
    // The names of functions are an eighth of the module, and only stack traces print them.
    bindgen.remove_name_section(true);
    bindgen.generate(folder)
}
