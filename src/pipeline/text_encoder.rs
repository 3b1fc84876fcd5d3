//! Text encoders: a folder of transformers, or a part of a single file.
use crate::{
    error::{ConfigError, Error, FileError},
    models::clip_text::{ClipText, ClipTextConfig, TextActivation},
    weights::{self, Below, FileWeights, Names, NonFinite, TensorFile},
};
use std::{
    collections::HashMap,
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

/// Channels of a head, in all released files.
const HEAD: usize = 64;

/// Where a single file of Stable Diffusion has a text encoder.
///
/// ```
/// use ddim::{pipeline::TextPlace, weights::{Precision, of_bytes, tensor_bytes}};
///
/// let (path, place) = ("model.safetensors".as_ref(), TextPlace::Sd1);
/// let name = format!("{}text_model.final_layer_norm.bias", place.prefix());
/// let bytes = tensor_bytes(path, Precision::F32, [(&name[..], &[1][..], &[0.5][..])])?;
/// assert_eq!(TextPlace::of(&*of_bytes(path, bytes)?), [place]);
/// # Ok::<(), ddim::Error>(())
/// ```
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

    /// The settings of the encoder in a file, by its shapes. What these do not tell is that of the released
    /// files: heads of 64 channels, the activation, a text ends with the last token of the table.
    pub fn config(self, file: &dyn TensorFile) -> ClipTextConfig {
        let tensors = Below { file, prefix: self.prefix() }.tensors();
        let shapes: HashMap<String, Vec<usize>> = tensors.into_iter().collect();
        let extent = |name: &str, axis: usize| {
            shapes.get(name).and_then(|of| of.get(axis)).copied().unwrap_or(0)
        };
        let is_open = matches!(self, Self::Sd2 | Self::Sdxl2);
        let (table, positions, layers, wide) = match is_open {
            false => (
                "text_model.embeddings.token_embedding.weight",
                "text_model.embeddings.position_embedding.weight",
                "text_model.encoder.layers.",
                ".mlp.fc1.weight",
            ),
            true => (
                "token_embedding.weight",
                "positional_embedding",
                "transformer.resblocks.",
                ".mlp.c_fc.weight",
            ),
        };
        let wide = |layer: usize| format!("{layers}{layer}{wide}");
        let blocks = (0..).take_while(|&layer| shapes.contains_key(&wide(layer))).count();
        let (vocab_size, hidden_size) = (extent(table, 0), extent(table, 1));
        let projects = self == Self::Sdxl2;
        let class = if projects { "CLIPTextModelWithProjection" } else { "CLIPTextModel" };
        ClipTextConfig {
            architectures: vec![class.into()],
            vocab_size,
            hidden_size,
            intermediate_size: extent(&wide(0), 0),
            num_hidden_layers: blocks.saturating_sub(usize::from(self == Self::Sd2)),
            num_attention_heads: (hidden_size / HEAD).max(1),
            max_position_embeddings: extent(positions, 0),
            hidden_act: if is_open { TextActivation::Gelu } else { TextActivation::QuickGelu },
            projection_dim: if projects { extent("text_projection", 1) } else { hidden_size },
            eos_token_id: vocab_size.saturating_sub(1) as u32,
            ..ClipTextConfig::default()
        }
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
/// ```no_run
/// use ddim::pipeline::read_text_encoder;
///
/// let (network, weights) = read_text_encoder("model/text_encoder".as_ref(), u64::MAX)?;
/// println!("{weights:?}, {} channels", network.config().hidden_size);
/// # Ok::<(), ddim::Error>(())
/// ```
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
