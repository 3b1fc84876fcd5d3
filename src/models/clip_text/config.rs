//! transformers' `config.json` of a CLIP text encoder.
use crate::{
    error::{ConfigError, FileError, Unexpected},
    files,
};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Larger than any model, and small enough that no product of extents overflows.
const MOST: usize = 1 << 20;

/// What stands between the two layers of a perceptron.
///
/// Example: [`ClipTextConfig`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextActivation {
    /// `x sigmoid(1.702 x)`: OpenAI's weights.
    #[default]
    QuickGelu,
    /// The exact one: OpenCLIP's weights.
    Gelu,
}

/// The settings of a text encoder, by transformers' names. A missing key means transformers' default;
/// unknown keys are ignored.
///
/// ```
/// use ddim::models::clip_text::{ClipTextConfig, TextActivation};
///
/// let config = ClipTextConfig::parse(r#"{
///     "hidden_size": 1024, "num_attention_heads": 16, "hidden_act": "gelu"
/// }"#)?;
/// assert_eq!((config.hidden_act, config.max_position_embeddings), (TextActivation::Gelu, 77));
/// assert!(!config.projects());
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipTextConfig {
    /// `CLIPTextModel` or `CLIPTextModelWithProjection`, first of the list.
    pub architectures: Vec<String>,
    /// Rows of the table of tokens.
    pub vocab_size: usize,
    /// Channels of a token.
    pub hidden_size: usize,
    /// Channels between the two layers of a perceptron.
    pub intermediate_size: usize,
    /// Layers that are run.
    pub num_hidden_layers: usize,
    /// Heads of an attention.
    pub num_attention_heads: usize,
    /// Most tokens of a text.
    pub max_position_embeddings: usize,
    /// What stands between the two layers of a perceptron.
    pub hidden_act: TextActivation,
    /// Added to the variance in every norm.
    pub layer_norm_eps: f64,
    /// Channels of the projected text.
    pub projection_dim: usize,
    /// The token that ends a text; 2 in files of before 2023, where it is wrong.
    pub eos_token_id: u32,
}

impl Default for ClipTextConfig {
    fn default() -> Self {
        Self {
            architectures: vec!["CLIPTextModel".into()],
            vocab_size: 49_408,
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: TextActivation::QuickGelu,
            layer_norm_eps: 1e-5,
            projection_dim: 512,
            eos_token_id: 49_407,
        }
    }
}

impl ClipTextConfig {
    /// Does a projection follow the pooled text?
    pub fn projects(&self) -> bool {
        self.architectures.first().is_some_and(|name| name == "CLIPTextModelWithProjection")
    }

    /// Reads a `config.json`.
    ///
    /// # Errors
    /// If the file cannot be read, or as [`ClipTextConfig::parse`]; both name the file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = files::read_json(path).map_err(FileError::at(path))?;
        Self::parse(&text).map_err(ConfigError::at(path))
    }

    /// Reads the text of a `config.json` and checks it.
    ///
    /// # Errors
    /// If it is not JSON, a value has the wrong type or is not supported, or as
    /// [`ClipTextConfig::check`]; the error names the key.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = files::parse_object(text).map_err(ConfigError::TextJson)?;
        config.check()?;
        Ok(config)
    }

    /// Checks the settings against their ranges and each other.
    ///
    /// # Errors
    /// If one does not fit: the error names the key, what it may be, and what it is.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.checked().map_err(ConfigError::Text)
    }

    fn checked(&self) -> Result<(), Unexpected> {
        let known = ["CLIPTextModel", "CLIPTextModelWithProjection"];
        let named = self.architectures.first().map_or(known[0], |name| name);
        let expected = known.join(" or ");
        Unexpected::check(known.contains(&named), "architectures", expected, named)?;
        let sizes = [
            ("vocab_size", self.vocab_size, "tokens"),
            ("hidden_size", self.hidden_size, "channels"),
            ("intermediate_size", self.intermediate_size, "channels"),
            ("num_attention_heads", self.num_attention_heads, "heads"),
            ("max_position_embeddings", self.max_position_embeddings, "tokens"),
            ("projection_dim", self.projection_dim, "channels"),
        ];
        for (name, found, unit) in sizes {
            Unexpected::range(name, found, 1, MOST, unit)?;
        }
        Unexpected::range("num_hidden_layers", self.num_hidden_layers, 1, 1000, "layers")?;
        let (width, heads) = (self.hidden_size, self.num_attention_heads);
        let divisor = format!("a divisor of the {width} channels");
        Unexpected::check(width.is_multiple_of(heads), "num_attention_heads", divisor, heads)?;
        let eps = self.layer_norm_eps;
        Unexpected::check(eps > 0.0 && eps < 1.0, "layer_norm_eps", "between 0 and 1", eps)
    }
}
