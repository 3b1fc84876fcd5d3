//! Text encoders: a folder of transformers, or a part of a single file.
use crate::{
    error::{ConfigError, Error, FileError},
    models::clip_text::{ClipText, ClipTextConfig},
    weights::{self, Below, FileWeights, Names, NonFinite, TensorFile},
};
use std::{
    io::{Error as IoError, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Names of a folder's weights, the ones to take first.
const WEIGHTS: [&str; 5] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "model.fp16.safetensors",
    "pytorch_model.bin",
    "pytorch_model.fp16.bin",
];

/// Where a single file of Stable Diffusion has a text encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TextPlace {
    /// Version 1: OpenAI's.
    Sd1,
    /// Version 2: OpenCLIP's, of which all layers but the last are run.
    Sd2,
    /// SDXL's first: OpenAI's.
    Sdxl1,
    /// SDXL's second: OpenCLIP's, with its projection.
    Sdxl2,
}

impl TextPlace {
    /// Every place.
    pub const ALL: [Self; 4] = [Self::Sd1, Self::Sd2, Self::Sdxl1, Self::Sdxl2];

    /// What the names of its tensors begin with.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Sd1 => "cond_stage_model.transformer.",
            Self::Sd2 => "cond_stage_model.model.",
            Self::Sdxl1 => "conditioner.embedders.0.transformer.",
            Self::Sdxl2 => "conditioner.embedders.1.model.",
        }
    }

    /// The places where a file has tensors.
    pub fn of(file: &dyn TensorFile) -> Vec<Self> {
        let names = file.tensors();
        let has = |place: &Self| names.iter().any(|(name, _)| name.starts_with(place.prefix()));
        Self::ALL.into_iter().filter(has).collect()
    }

    /// Whether an encoder with these settings has no use for a tensor.
    pub(crate) fn ignores(self, tensor: &str, config: &ClipTextConfig) -> bool {
        self.names(config).ignores(tensor)
    }

    fn names(self, config: &ClipTextConfig) -> Names {
        match self {
            Self::Sd1 | Self::Sdxl1 => Names::ClipText,
            Self::Sd2 | Self::Sdxl2 => {
                Names::OpenClip { layers: config.num_hidden_layers, projects: config.projects() }
            }
        }
    }

    /// The weights of an encoder in the file at `path`, which is open.
    ///
    /// # Errors
    /// If the file cannot be read, lacks a tensor, has one of another shape or one that the encoder does not
    /// know; names in errors are those after the prefix.
    pub fn weights(
        self,
        path: &Path,
        file: Arc<dyn TensorFile>,
        model: &ClipText,
    ) -> Result<FileWeights, Error> {
        let (expected, names) = (model.parameters()?, self.names(model.config()));
        let of = FileWeights::of(path, file, self.prefix(), &expected, &names, NonFinite::Refuse);
        Ok(of?)
    }

    /// Checks the names and shapes alone.
    ///
    /// # Errors
    /// As [`TextPlace::weights`].
    pub(crate) fn check(
        self,
        path: &Path,
        file: &dyn TensorFile,
        model: &ClipText,
    ) -> Result<(), Error> {
        let below = Below { file, prefix: self.prefix() };
        let (expected, names) = (model.parameters()?, self.names(model.config()));
        Ok(FileWeights::check(path, &below, &expected, &names)?)
    }
}

/// Opens the folder of a text encoder: `config.json` and its weights. A table of tokens of more than
/// `max_bytes` is cut.
///
/// # Errors
/// If a file is missing, damaged, or does not fit the other; the error names it.
pub fn read_text_encoder(folder: &Path, max_bytes: u64) -> Result<(ClipText, FileWeights), Error> {
    let model = ClipText::new(ClipTextConfig::read(&folder.join("config.json"))?)?;
    let model = model.within(max_bytes);
    let path = text_weights(folder)?;
    let (file, expected) = (weights::open(&path)?.into(), model.parameters()?);
    let (names, refuse) = (Names::ClipText, NonFinite::Refuse);
    let weights = FileWeights::of(&path, file, "", &expected, &names, refuse)?;
    Ok((model, weights))
}

/// The file of a folder's weights.
fn text_weights(folder: &Path) -> Result<PathBuf, ConfigError> {
    let found = WEIGHTS.iter().map(|name| folder.join(name)).find(|path| path.exists());
    found.ok_or_else(|| {
        let path = folder.join(WEIGHTS[0]);
        FileError::at(&path)(IoError::from(ErrorKind::NotFound)).into()
    })
}
