//! `ddim inspect` and `ddim convert`: what a file is, and the same as a folder of diffusers.
use crate::{cli, console::say, failure::Failure, files, progress::thousands};
use ddim::{
    pipeline::{Inspection, convert, inspect},
    weights::NonFinite,
};

/// What `ddim convert` writes.
const FILES: [&str; 6] = [
    "model_index.json",
    "unet",
    "vae",
    "scheduler",
    "config.json",
    "diffusion_pytorch_model.safetensors",
];

/// Says what a path holds.
pub fn tell(arguments: &cli::Inspect) -> Result<(), Failure> {
    let Inspection { file, format, dialect, place, tensors, configuration, note } =
        inspect(&arguments.path, &arguments.beside.opening(NonFinite::Allow))?;
    let elements = |shape: &[usize]| shape.iter().product::<usize>() as u64;
    let total = tensors.iter().map(|(_, shape)| elements(shape)).sum();
    say!("file           {}", file.display());
    say!("format         {format}");
    say!("dialect        {dialect}");
    if !place.is_empty() {
        say!("weights        below {place}");
    }
    say!("tensors        {}, of {} numbers", tensors.len(), thousands(total));
    for (part, text) in configuration {
        say!("\n{part}\n{}", text.trim_end());
    }
    if let Some(note) = note {
        say!("\n{note}");
    }
    say!("\ntensors");
    for (name, shape) in tensors {
        say!("{name} {shape:?}");
    }
    Ok(())
}

/// Writes a model as a folder of diffusers.
pub fn run(arguments: &cli::Convert) -> Result<(), Failure> {
    let cli::Convert { path, out, dtype, beside, existing } = arguments;
    if !existing.overwrite {
        files::refuse_taken(out, &FILES)?;
    }
    files::prepare_folder(out)?;
    convert(path, out, &beside.opening(NonFinite::Refuse), (*dtype).into())?;
    say!("{}: written", out.display());
    Ok(())
}
