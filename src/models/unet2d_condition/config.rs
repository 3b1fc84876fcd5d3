//! diffusers' `config.json` of a `UNet2DConditionModel`.
mod check;

use crate::{
    error::{ConfigError, FileError},
    files,
    models::{
        per_level::PerLevel,
        unet2d::{Activation, SampleSize, TimeEmbedding, TimeScaleShift},
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use std::path::Path;

/// Keys whose `null` is not the default.
const NULLABLE: [&str; 4] =
    ["mid_block_type", "norm_num_groups", "cross_attention_dim", "attention_head_dim"];

/// Keys of diffusers that would change the network, and the value with which they do not.
const REFUSED: [(&str, &str); 12] = [
    ("encoder_hid_dim", "null"),
    ("encoder_hid_dim_type", "null"),
    ("num_attention_heads", "null"),
    ("dual_cross_attention", "false"),
    ("time_embedding_act_fn", "null"),
    ("timestep_post_act", "null"),
    ("time_cond_proj_dim", "null"),
    ("conv_in_kernel", "3"),
    ("conv_out_kernel", "3"),
    ("attention_type", "\"default\""),
    ("class_embeddings_concat", "false"),
    ("cross_attention_norm", "null"),
];

/// Keys without effect on these blocks, or on arithmetic in f32.
const WITHOUT_EFFECT: [&str; 5] = [
    "upcast_attention",
    "resnet_skip_time_act",
    "resnet_out_scale_factor",
    "mid_block_only_cross_attention",
    "addition_embed_type_num_heads",
];

/// A level of the encoder.
///
/// Example: [`crate::models::unet2d_condition::TextUNet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TextDownBlock {
    /// Residual blocks.
    #[serde(rename = "DownBlock2D")]
    Plain,
    /// Residual blocks, a transformer after each.
    #[serde(rename = "CrossAttnDownBlock2D")]
    Transformer,
}

/// A level of the decoder.
///
/// Example: [`crate::models::unet2d_condition::TextUNet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TextUpBlock {
    /// Residual blocks.
    #[serde(rename = "UpBlock2D")]
    Plain,
    /// Residual blocks, a transformer after each.
    #[serde(rename = "CrossAttnUpBlock2D")]
    Transformer,
}

/// The middle of the U-Net.
///
/// Example: [`crate::models::unet2d_condition::TextUNet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TextMidBlock {
    /// A residual block, a transformer, a residual block.
    UNetMidBlock2DCrossAttn,
}

/// Class embedding other than a table.
///
/// Example: [`crate::models::unet2d_condition::TextUNet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelEmbedding {
    /// As a timestep does.
    Timestep,
    /// It is one already.
    Identity,
    /// Two linear layers of a vector.
    Projection,
}

/// What is added to the time embedding besides.
///
/// Example: [`TextUNetConfig`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddedEmbedding {
    /// SDXL's: two linear layers of the pooled text and the sinusoids of six sizes.
    TextTime,
}

/// The settings of a U-Net that reads a text, by diffusers' names. A missing key means diffusers' default.
///
/// ```
/// use ddim::models::unet2d_condition::{AddedEmbedding, TextUNetConfig};
///
/// // Of SDXL: the pooled text and six sizes.
/// let config = TextUNetConfig {
///     addition_embed_type: Some(AddedEmbedding::TextTime),
///     addition_time_embed_dim: Some(256),
///     ..TextUNetConfig::default()
/// };
/// let vector = config.vector(&[0.0; 1280], &[1024.0, 1024.0, 0.0, 0.0, 1024.0, 1024.0]);
/// assert_eq!(vector.len(), 1280 + 6 * 256);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TextUNetConfig {
    /// The class that opens the file in diffusers.
    #[serde(rename = "_class_name")]
    pub class_name: String,
    /// The size of the latents that the model was made for.
    pub sample_size: Option<SampleSize>,
    /// Channels of the noisy latent.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Is `2x - 1` taken of the input?
    pub center_input_sample: bool,
    /// Do the cosines come first?
    pub flip_sin_to_cos: bool,
    /// Subtracted from the number of frequencies in the exponent's denominator.
    pub freq_shift: usize,
    /// The levels of the encoder, finest first.
    pub down_block_types: Vec<TextDownBlock>,
    /// The middle, if there is one.
    pub mid_block_type: Option<TextMidBlock>,
    /// The levels of the decoder, coarsest first.
    pub up_block_types: Vec<TextUpBlock>,
    /// Does the first attention of a transformer's blocks see the text, and not the pixels?
    pub only_cross_attention: PerLevel<bool>,
    /// Channels of each level, finest first.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks of an encoder level; a decoder level has one more.
    pub layers_per_block: PerLevel<usize>,
    /// 1: all four sides of a downsampling convolution are padded; 0: right and bottom.
    pub downsample_padding: usize,
    /// Divisor of the residual sums in the middle block.
    pub mid_block_scale_factor: f64,
    /// Share of the activations that training drops in each residual block.
    pub dropout: f64,
    /// The activation function.
    pub act_fn: Activation,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// Added to the variance in the group norms, but for those of the transformers.
    pub norm_eps: f64,
    /// Channels of the text's tokens.
    pub cross_attention_dim: PerLevel<usize>,
    /// Blocks of each transformer; within a level, after each residual block.
    pub transformer_layers_per_block: PerLevel<PerLevel<usize>>,
    /// The same in the decoder, coarsest first, if it is other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reverse_transformer_layers_per_block: Option<Vec<PerLevel<usize>>>,
    /// Heads, and not channels of one: diffusers keeps the name for the files that have it.
    pub attention_head_dim: PerLevel<usize>,
    /// Are a transformer's first and last layers linear, and not 1x1 convolutions?
    pub use_linear_projection: bool,
    /// Class embedding other than a table.
    pub class_embed_type: Option<LabelEmbedding>,
    /// What is added to the time embedding besides.
    pub addition_embed_type: Option<AddedEmbedding>,
    /// Sines and cosines of each of the six sizes.
    pub addition_time_embed_dim: Option<usize>,
    /// Number of classes, each a row of a table, where `class_embed_type` is absent.
    pub num_class_embeds: Option<usize>,
    /// Injection of the time embedding into a residual block.
    pub resnet_time_scale_shift: TimeScaleShift,
    /// Kind of time embedding.
    pub time_embedding_type: TimeEmbedding,
    /// Width of the time embedding: four times that of the first level if absent.
    pub time_embedding_dim: Option<usize>,
    /// Width of the vectors that are projected and added to the time embedding.
    pub projection_class_embeddings_input_dim: Option<usize>,
    /// All other keys.
    #[serde(flatten, skip_serializing)]
    pub others: Map<String, Json>,
}

impl Default for TextUNetConfig {
    fn default() -> Self {
        use {TextDownBlock as Down, TextUpBlock as Up};
        Self {
            class_name: "UNet2DConditionModel".into(),
            sample_size: None,
            in_channels: 4,
            out_channels: 4,
            center_input_sample: false,
            flip_sin_to_cos: true,
            freq_shift: 0,
            down_block_types: [&[Down::Transformer; 3][..], &[Down::Plain]].concat(),
            mid_block_type: Some(TextMidBlock::UNetMidBlock2DCrossAttn),
            up_block_types: [&[Up::Plain][..], &[Up::Transformer; 3]].concat(),
            only_cross_attention: PerLevel::All(false),
            block_out_channels: vec![320, 640, 1280, 1280],
            layers_per_block: PerLevel::All(2),
            downsample_padding: 1,
            mid_block_scale_factor: 1.0,
            dropout: 0.0,
            act_fn: Activation::Silu,
            norm_num_groups: 32,
            norm_eps: 1e-5,
            cross_attention_dim: PerLevel::All(1280),
            transformer_layers_per_block: PerLevel::All(PerLevel::All(1)),
            reverse_transformer_layers_per_block: None,
            attention_head_dim: PerLevel::All(8),
            use_linear_projection: false,
            class_embed_type: None,
            addition_embed_type: None,
            addition_time_embed_dim: None,
            num_class_embeds: None,
            resnet_time_scale_shift: TimeScaleShift::Default,
            time_embedding_type: TimeEmbedding::Positional,
            time_embedding_dim: None,
            projection_class_embeddings_input_dim: None,
            others: Map::new(),
        }
    }
}

impl TextUNetConfig {
    /// Reads a `config.json`; warns of keys that are not known.
    ///
    /// # Errors
    /// If the file cannot be read, or as [`TextUNetConfig::parse`]; both name the file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = files::read_json(path).map_err(FileError::at(path))?;
        let config = Self::parse(&text).map_err(ConfigError::at(path))?;
        let keys: Vec<String> = config.others.keys().cloned().collect();
        let refused = REFUSED.iter().map(|(key, _)| *key);
        let beside: Vec<&str> = refused.chain(WITHOUT_EFFECT).collect();
        files::warn_of_others::<Self>(path, &keys, &beside);
        Ok(config)
    }

    /// Reads the text of a `config.json` and checks it.
    ///
    /// # Errors
    /// If it is not JSON, a value has the wrong type or is not supported, or as
    /// [`TextUNetConfig::check`]; the error names the key.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let (config, _): (Self, _) = files::parse_config(text, &NULLABLE)?;
        config.check()?;
        Ok(config)
    }

    /// The text of a `config.json` that diffusers opens.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain fields with string keys are JSON") + "\n"
    }

    /// Number of resolutions.
    pub fn levels(&self) -> usize {
        self.block_out_channels.len()
    }

    /// Width of the time embedding.
    pub fn time_width(&self) -> usize {
        self.time_embedding_dim.unwrap_or(4 * self.block_out_channels[0])
    }

    /// Channels of the text's tokens.
    pub fn context_width(&self) -> usize {
        *self.cross_attention_dim.at(0)
    }

    /// The vector of an image that SDXL reads beside the tokens: the pooled text, then the sinusoids of six
    /// numbers (height and width of the original picture, top and left of the part, height and width wanted).
    pub fn vector(&self, pooled: &[f32], sizes: &[f32]) -> Vec<f32> {
        let width = self.addition_time_embed_dim.unwrap_or(0);
        let (half, mut vector) = (width / 2, pooled.to_vec());
        for &size in sizes {
            let exponent = 10_000_f64.ln() / (half as f64 - self.freq_shift as f64);
            let angles = (0..half).map(|i| f64::from(size) * (-exponent * i as f64).exp());
            let angles: Vec<f64> = angles.collect();
            let sines = angles.iter().map(|angle| angle.sin() as f32);
            let cosines = angles.iter().map(|angle| angle.cos() as f32);
            match self.flip_sin_to_cos {
                true => vector.extend(cosines.chain(sines)),
                false => vector.extend(sines.chain(cosines)),
            }
            vector.extend(std::iter::repeat_n(0.0, width % 2));
        }
        vector
    }
}
