//! Reference cases of a folder: what is there, what a case holds, whether a result agrees.
use super::Outcome;
use crate::{
    error::{CasesError, Error, FileError},
    files,
    weights::{Stored, read_tensors},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value as Json};
use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
};

/// Results of a case by the names of its outputs, in the axes of its file.
pub(super) type Results = HashMap<String, Vec<f64>>;

pub(super) fn read_text(path: &Path) -> Result<String, CasesError> {
    Ok(files::read_json(path).map_err(FileError::at(path))?)
}

pub(super) fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, CasesError> {
    files::parse_object(text)
        .map_err(|error| CasesError::Format { path: path.into(), message: error.to_string() })
}

/// Groups and names of the cases that the text of an `index.json` lists; `path` is for the error
/// alone.
///
/// # Errors
/// If it is none.
///
/// Example: [`crate::error::CasesError`].
pub fn parse_index(path: &Path, text: &str) -> Result<Vec<(String, String)>, CasesError> {
    let Index { cases } = parse(path, text)?;
    Ok(cases.into_iter().map(|Entry { group, name }| (group, name)).collect())
}

/// The kind of the case that the text of a manifest describes; `path` is for the error alone.
///
/// ```
/// use ddim::verify::parse_manifest;
///
/// let text = r#"{"kind": "silu", "file": "silu.safetensors", "outputs": {}}"#;
/// assert_eq!(parse_manifest("silu.json".as_ref(), text)?, "silu");
/// # Ok::<(), ddim::Error>(())
/// ```
///
/// # Errors
/// If it is none.
pub fn parse_manifest(path: &Path, text: &str) -> Result<String, CasesError> {
    Ok(parse::<Manifest>(path, text)?.kind)
}

#[derive(Deserialize)]
pub(super) struct Index {
    pub cases: Vec<Entry>,
}

#[derive(Deserialize)]
pub(super) struct Entry {
    pub group: String,
    pub name: String,
}

#[derive(Deserialize)]
struct Manifest {
    kind: String,
    file: String,
    #[serde(default)]
    config: Json,
    outputs: Map<String, Json>,
    model: Option<String>,
}

/// A case: its manifest and its tensors.
pub(super) struct Case {
    folder: PathBuf,
    path: PathBuf,
    manifest: Manifest,
    tensors: HashMap<String, Stored>,
}

impl Case {
    pub fn read(folder: &Path, group: &str, name: &str) -> Result<Self, Error> {
        let path = folder.join(group).join(format!("{name}.json"));
        let manifest: Manifest = parse(&path, &read_text(&path)?)?;
        let tensors = read_tensors(&folder.join(group).join(&manifest.file))?;
        let tensors = tensors.into_iter().map(|stored| (stored.name.clone(), stored)).collect();
        Ok(Self { folder: folder.into(), path, manifest, tensors })
    }

    /// An error that names the case's manifest.
    pub fn refuse(&self, message: impl Into<String>) -> Error {
        CasesError::Format { path: self.path.clone(), message: message.into() }.into()
    }

    /// What the case computes.
    pub fn kind(&self) -> &str {
        &self.manifest.kind
    }

    /// The numbers it computes with.
    pub fn settings(&self) -> &Json {
        &self.manifest.config
    }

    /// The same, as the type that its kind needs.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T, Error> {
        T::deserialize(&self.manifest.config)
            .map_err(|error| self.refuse(format!("config: {error}")))
    }

    /// One of its settings; `null` stands for one that is not there.
    pub fn setting<T: DeserializeOwned>(&self, key: &str) -> Result<T, Error> {
        T::deserialize(&self.manifest.config[key])
            .map_err(|error| self.refuse(format!("config: {key}: {error}")))
    }

    /// The folder of its weights.
    pub fn model(&self) -> Result<PathBuf, Error> {
        let model = self.manifest.model.as_ref();
        Ok(self.file(model.ok_or_else(|| self.refuse("no model is named"))?))
    }

    /// A file of the folder of cases.
    pub fn file(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// Does it hold this tensor?
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// One of its tensors; none is empty.
    pub fn tensor(&self, name: &str) -> Result<&Stored, Error> {
        let stored =
            self.tensors.get(name).ok_or_else(|| self.refuse(format!("{name} is missing")))?;
        if stored.shape.contains(&0) {
            return Err(self.refuse(format!("{name} is empty: {:?}", stored.shape)));
        }
        Ok(stored)
    }

    /// The elements of one of its tensors, which must be whole numbers from 0, below `end`.
    pub fn indices(&self, name: &str, end: usize) -> Result<Vec<usize>, Error> {
        let index =
            |number: f64| match number as usize {
                index if index as f64 == number && index < end => Ok(index),
                _ => Err(self
                    .refuse(format!("{name}: expected whole numbers below {end}, found {number}"))),
            };
        self.tensor(name)?.numbers.to_f64().into_iter().map(index).collect()
    }

    /// The names of its tensors, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str).collect::<BTreeSet<_>>().into_iter()
    }

    /// Names of the expected outputs.
    pub fn outputs(&self) -> impl Iterator<Item = &str> {
        self.manifest.outputs.keys().map(String::as_str)
    }

    /// Compares all expected outputs.
    ///
    /// # Errors
    /// If the file lacks one.
    pub fn compare(&self, results: &Results) -> Result<Outcome, Error> {
        let texts = self.outputs().map(|name| self.difference(name, results));
        Ok(Outcome::of(texts.collect::<Result<Vec<_>, _>>()?))
    }

    /// What is wrong with one output, if it is off: every element has to satisfy
    /// `|result - reference| <= atol + rtol |reference|`, and integers have no tolerance.
    ///
    /// # Errors
    /// If the file lacks it.
    pub fn difference(&self, output: &str, results: &Results) -> Result<Option<String>, Error> {
        let wanted = self.tensor(output)?.numbers.to_f64();
        let Some(got) = results.get(output) else {
            return Ok(Some(format!("{output} is not known to kind {}", self.kind())));
        };
        if got.len() != wanted.len() {
            let (got, wanted) = (got.len(), wanted.len());
            return Ok(Some(format!("{output} has {got} elements, expected {wanted}")));
        }
        let tolerance = |key: &str| self.manifest.outputs[output][key].as_f64().unwrap_or(0.0);
        let (atol, rtol) = (tolerance("atol"), tolerance("rtol"));
        let mut worst: Option<(f64, f64)> = None;
        for (got, want) in got.iter().zip(&wanted) {
            let (error, allowed) = ((got - want).abs(), atol + rtol * want.abs());
            // Written so that NaN on either side fails, and stays the worst.
            let passes = error <= allowed;
            let excess = error - allowed;
            if !passes && worst.is_none_or(|(e, most)| excess.is_nan() || excess > e - most) {
                worst = Some((error, allowed));
            }
        }
        Ok(worst.map(|(error, allowed)| format!("{output} {error:.1e} > {allowed:.1e}")))
    }
}
