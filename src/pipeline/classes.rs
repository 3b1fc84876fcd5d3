//! Names of a model's classes, in a file of the checkpoint beside the pipeline.
use crate::{error::TrainingError, files::parse_object};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The file, by its path below the folder.
///
/// Example: [`crate::pipeline::class_names()`].
pub const CLASS_NAMES: &str = "training/classes.json";

#[derive(Serialize, Deserialize)]
struct Classes {
    names: Vec<String>,
}

/// Reads the text of a file of class names; `path` is for the error alone.
///
/// # Errors
/// If it is damaged.
///
/// Example: [`crate::pipeline::class_names()`].
pub fn parse_class_names(path: &Path, text: &str) -> Result<Vec<String>, TrainingError> {
    let classes: Classes = parse_object(text).map_err(|error| TrainingError::Checkpoint {
        path: path.into(),
        message: error.to_string(),
    })?;
    Ok(classes.names)
}

/// The text of a file of class names, by label.
///
/// Example: [`crate::pipeline::class_names()`].
pub fn class_names_json(names: &[String]) -> String {
    let classes = Classes { names: names.into() };
    serde_json::to_string_pretty(&classes).expect("text is JSON") + "\n"
}
