//! Where a pipeline's files lie: in the subfolders `unet/` and `scheduler/`, or beside
//! `model_index.json`, as in folders of 2022 that diffusers still opens.
use super::generations::RunFolder;
use crate::{
    error::{Error, TrainingError},
    files::MODEL_INDEX,
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// The files, by their paths below the folder.
pub(crate) const UNET: &str = "unet/config.json";
pub(crate) const SCHEDULER: &str = "scheduler/scheduler_config.json";
pub(super) const WEIGHTS: &str = "unet/diffusion_pytorch_model.safetensors";

/// The usual name of a part's weights.
pub(super) const FILE: &str = "diffusion_pytorch_model.safetensors";

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

/// The file of the weights beside the U-Net's configuration, or the index of its shards: safetensors before
/// `.bin`, without a variant first. A variant (`.fp16.safetensors`) counts where it is asked for or alone.
///
/// # Errors
/// If there are several variants and no other weights, or not the one that is asked for.
pub(super) fn weights(folder: &RunFolder, variant: Option<&str>) -> Result<PathBuf, Error> {
    let usual = match folder.path(WEIGHTS) {
        own if own.exists() => own,
        _ => part(folder, UNET).with_file_name(FILE),
    };
    weights_at(&usual, variant)
}

/// The same of a part whose weights usually are at this path.
///
/// # Errors
/// As [`weights`].
pub(super) fn weights_at(usual: &Path, variant: Option<&str>) -> Result<PathBuf, Error> {
    let find = |variant: &str| {
        candidates(variant)
            .map(|name| usual.with_file_name(name))
            .into_iter()
            .find(|of| of.exists())
    };
    if let Some(found) = variant.map_or_else(|| find(""), |variant| find(&format!(".{variant}"))) {
        return Ok(found);
    }
    let names = usual.parent().and_then(|folder| std::fs::read_dir(folder).ok());
    let names =
        names.into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let others: BTreeSet<String> = names.filter(|name| name.starts_with(STEM)).collect();
    let variants: BTreeSet<&str> = others.iter().filter_map(|name| variant_of(name)).collect();
    let only = variants.first().filter(|_| variants.len() == 1 && variant.is_none());
    match only.and_then(|only| find(&format!(".{only}"))) {
        Some(found) => Ok(found),
        // The reader's own error names what is missing.
        None if others.is_empty() => Ok(usual.into()),
        None => {
            let expected = variant.map_or_else(
                || "weights without a variant, or one variant alone".into(),
                |variant| format!("the variant {variant}"),
            );
            let others: Vec<&str> = others.iter().map(|name| &name[..]).collect();
            let variants: Vec<&str> = variants.into_iter().collect();
            let found = match &variants[..] {
                [] => others.join(", "),
                _ => format!("the variants {} ({})", variants.join(", "), others.join(", ")),
            };
            Err(TrainingError::pipeline(usual, "file", expected, found).into())
        }
    }
}

/// The names of a variant's weights, the ones to take first; `.fp16` is a variant.
fn candidates(variant: &str) -> [String; 4] {
    [
        format!("{STEM}{variant}.safetensors"),
        format!("{STEM}.safetensors.index{variant}.json"),
        format!("{STEM}{variant}.bin"),
        format!("{STEM}.bin.index{variant}.json"),
    ]
}

/// The variant that a file is of.
fn variant_of(name: &str) -> Option<&str> {
    let rest = name.strip_prefix(STEM)?.strip_prefix('.')?;
    let index = rest.split_once(".index.").and_then(|(_, rest)| rest.strip_suffix(".json"));
    let file = || rest.strip_suffix(".safetensors").or_else(|| rest.strip_suffix(".bin"));
    index.or_else(file).filter(|name| !name.contains("-of-"))
}
