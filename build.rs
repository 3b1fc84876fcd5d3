//! Reads every shader with naga, checks it, and writes its Rust side to `OUT_DIR/shaders.rs`:
//! parameters, overrides, and one struct per entry point with one named field per buffer.
#[path = "build/assemble.rs"]
mod assemble;
#[path = "build/check.rs"]
mod check;
#[path = "build/emit.rs"]
mod emit;
#[path = "build/iterations.rs"]
mod iterations;
#[path = "build/prelude.rs"]
mod prelude;
#[path = "build/reflect.rs"]
mod reflect;
#[path = "build/shader.rs"]
mod shader;
#[path = "build/workgroup.rs"]
mod workgroup;

use std::{env, fs, path::Path, path::PathBuf, process::ExitCode};

fn main() -> ExitCode {
    for path in ["build.rs", "build", "shaders"] {
        println!("cargo::rerun-if-changed={path}");
    }
    match generate() {
        Ok(()) => ExitCode::SUCCESS,
        Err(errors) => {
            eprintln!("{errors}");
            ExitCode::FAILURE
        }
    }
}

/// Writes `shaders.rs`, or tells what is wrong with every shader that has something wrong.
fn generate() -> Result<(), String> {
    let (mut shaders, mut errors) = (Vec::new(), Vec::new());
    for path in wgsl_files(Path::new("shaders"))? {
        match assemble::Assembled::read(&path).and_then(reflect::reflect) {
            Ok(shader) => shaders.push(shader),
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(errors.join("\n\n"));
    }
    let directory = env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR for build scripts")?;
    let file = Path::new(&directory).join("shaders.rs");
    fs::write(&file, emit::emit(&shaders)).map_err(|error| format!("{}: {error}", file.display()))
}

/// The kernels of a directory, by name.
fn wgsl_files(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let unreadable = |error| format!("{}: {error}", directory.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "wgsl") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
