//! Where a pipeline's files lie: in the subfolders `unet/` and `scheduler/`, or beside
//! `model_index.json`, as in folders of 2022 that diffusers still opens.
use super::generations::RunFolder;
use crate::{
    error::{Error, TrainingError},
    files::MODEL_INDEX,
};
use std::path::{Path, PathBuf};

/// The files, by their paths below the folder.
pub(crate) const UNET: &str = "unet/config.json";
pub(crate) const SCHEDULER: &str = "scheduler/scheduler_config.json";
pub(super) const WEIGHTS: &str = "unet/diffusion_pytorch_model.safetensors";

/// The weights' name without the ending.
const STEM: &str = "diffusion_pytorch_model";

/// The path of a part's file: below its subfolder, or beside the index where there is no such folder.
pub(super) fn part(folder: &RunFolder, name: &str) -> PathBuf {
    let path = folder.path(name);
    let flat = Path::new(name).file_name().map(|file| folder.path(&file.to_string_lossy()));
    let lies_flat = |flat: &PathBuf| flat.exists() && !path.parent().is_some_and(Path::is_dir);
    flat.filter(lies_flat).unwrap_or(path)
}

/// The index. Where a model's own folder is given, the error says which folder is meant.
pub(super) fn index(folder: &RunFolder) -> Result<PathBuf, TrainingError> {
    let path = folder.path(MODEL_INDEX);
    if !path.exists() && path.with_file_name("config.json").exists() {
        let found = "config.json of a model alone: give the folder above, or put the model into its \
                     subfolder unet/";
        return Err(TrainingError::pipeline(&path, "file", "the index of a pipeline", found));
    }
    if !path.parent().is_some_and(Path::is_dir) {
        let found = "no such folder: pipelines are not downloaded";
        return Err(TrainingError::pipeline(&path, "folder", "a pipeline", found));
    }
    Ok(path)
}

/// The weights beside the U-Net's configuration. A variant (`.fp16.safetensors`) counts where it is
/// alone.
///
/// # Errors
/// If there are several variants and no other weights, or parts of a file.
pub(super) fn weights(folder: &RunFolder) -> Result<PathBuf, Error> {
    let own = folder.path(WEIGHTS);
    if own.exists() {
        return Ok(own);
    }
    let usual = part(folder, UNET).with_file_name(format!("{STEM}.safetensors"));
    if usual.exists() {
        return Ok(usual);
    }
    let names = usual.parent().and_then(|folder| std::fs::read_dir(folder).ok());
    let names =
        names.into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut others: Vec<String> = names.filter(|name| name.starts_with(STEM)).collect();
    others.sort();
    let variants: Vec<&String> =
        others.iter().filter(|name| name.ends_with(".safetensors")).collect();
    let pickles: Vec<&String> = others.iter().filter(|name| name.ends_with(".bin")).collect();
    match (&variants[..], &pickles[..]) {
        ([one], _) | ([], [one]) if !one.contains("-of-") => Ok(usual.with_file_name(one)),
        // The reader's own error names what is missing.
        ([], []) => Ok(usual),
        _ => {
            let found = others.join(", ");
            Err(TrainingError::pipeline(&usual, "file", "the weights in one file", found).into())
        }
    }
}
