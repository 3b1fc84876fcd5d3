//! Settings that come beside a file: JSON, a command line, or a yml.
use super::{scalar::scalar, yml};
use crate::{
    error::{ConfigError, FileError, JsonError},
    files,
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Map, Value as Json};
use std::path::Path;

/// Reads the settings in a file. A text with `{` first is JSON; one with `--` a command line such as
/// `MODEL_FLAGS="--image_size 64 --num_channels 128"`; every other one a yml.
pub(crate) fn read(path: &Path) -> Result<Json, ConfigError> {
    let text = files::read_json(path).map_err(FileError::at(path))?;
    parse(&text).map_err(ConfigError::at(path))
}

/// As [`read`], of a file's text.
pub(crate) fn parse(text: &str) -> Result<Json, ConfigError> {
    if text.trim_start().starts_with('{') {
        return Ok(Json::Object(files::parse_object(text)?));
    }
    if text.contains("--") {
        return Ok(Json::Object(command_line(text)));
    }
    Ok(yml::parse(text)?)
}

/// The flags of a command line, in whatever quotes and over whatever lines.
fn command_line(text: &str) -> Map<String, Json> {
    let words = text.split(|c: char| c.is_whitespace() || "\"'\\".contains(c));
    let mut words = words.filter(|word| !word.is_empty()).peekable();
    let mut flags = Map::new();
    while let Some(word) = words.next() {
        let Some((_, flag)) = word.split_once("--") else { continue };
        let (key, value) = match flag.split_once('=') {
            Some((key, value)) => (key, value),
            None => (flag, words.next_if(|word| !word.contains("--")).unwrap_or("true")),
        };
        flags.insert(key.to_owned(), scalar(value));
    }
    flags
}

/// The settings as the type that a dialect needs; the error names the key.
pub(super) fn typed<T: DeserializeOwned>(settings: &Json) -> Result<T, ConfigError> {
    serde_path_to_error::deserialize(settings).map_err(|error| {
        let (key, message) = (error.path().to_string(), error.inner().to_string());
        JsonError { key, message }.into()
    })
}

/// Text, also where it looks like a number.
pub(super) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(match Json::deserialize(from)? {
        Json::String(text) => text,
        other => other.to_string(),
    })
}
