//! diffusers' `config.json` of a `UNet2DModel`. Above 300 lines, for each key and each choice has
//! its docs.
mod check;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{
    error::{ConfigError, FileError},
    files,
};

/// Keys whose `null` means none, and not the default.
const NULLABLE: [&str; 2] = ["mid_block_type", "attention_head_dim"];

/// Keys that diffusers does not have: they are written where they are set.
const BEYOND_DIFFUSERS: [&str; 3] =
    ["num_attention_heads", "conv_in_channels", "time_proj_channels"];

/// A level of the encoder.
///
/// Example: [`crate::models::unet2d::UNet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DownBlock {
    /// Residual blocks.
    #[serde(rename = "DownBlock2D", alias = "UNetResDownBlock2D")]
    Plain,
    /// Residual blocks, an attention after each.
    #[serde(rename = "AttnDownBlock2D", alias = "UNetResAttnDownBlock2D")]
    Attention,
    /// Residual blocks, the last of which halves the image.
    #[serde(rename = "ResnetDownsampleBlock2D")]
    Resnet,
}

/// A level of the decoder.
///
/// Example: [`crate::models::unet2d::UNet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum UpBlock {
    /// Residual blocks.
    #[serde(rename = "UpBlock2D", alias = "UNetResUpBlock2D")]
    Plain,
    /// Residual blocks, an attention after each.
    #[serde(rename = "AttnUpBlock2D", alias = "UNetResAttnUpBlock2D")]
    Attention,
    /// Residual blocks, the last of which doubles the image.
    #[serde(rename = "ResnetUpsampleBlock2D")]
    Resnet,
}

/// The middle of the U-Net.
///
/// Example: [`crate::models::unet2d::UNet`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MidBlock {
    /// A residual block, an attention, a residual block.
    #[default]
    UNetMidBlock2D,
}

/// Resampling of levels with attention; of the others, the block's type says it.
///
/// Example: [`UNetConfig`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resampling {
    /// A convolution: of stride 2 on the way down, after nearest upsampling on the way up.
    #[default]
    Conv,
    /// A residual block with a 2x2 mean or nearest upsampling inside.
    Resnet,
}

/// The activation function.
///
/// Example: [`UNetConfig`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x sigmoid(x)`.
    #[default]
    #[serde(alias = "swish")]
    Silu,
}

/// Injection of the time embedding into a residual block.
///
/// Example: [`UNetConfig`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeScaleShift {
    /// Added before the second norm.
    #[default]
    Default,
    /// Scale and shift after the second norm.
    ScaleShift,
}

/// Kind of time embedding.
///
/// Example: [`UNetConfig`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeEmbedding {
    /// Sines and cosines.
    #[default]
    Positional,
    /// That of zero: the network is not told the level of noise, as ncsnv2's (Song and Ermon 2020). No setting
    /// of diffusers.
    None,
}

/// Class embedding other than a table.
///
/// Example: [`UNetConfig`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassEmbedding {
    /// As a timestep does.
    Timestep,
    /// It is one already.
    Identity,
}

/// Height and width of the images.
///
/// Example: [`UNetConfig`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged, expecting = "a number or two numbers")]
pub enum SampleSize {
    /// Both sides.
    Square(usize),
    /// Height and width.
    Sides([usize; 2]),
}

impl SampleSize {
    /// Height and width.
    pub fn sides(self) -> (usize, usize) {
        match self {
            Self::Square(side) => (side, side),
            Self::Sides([height, width]) => (height, width),
        }
    }
}

/// The settings of a U-Net, by diffusers' names. A missing key means diffusers' default; unknown keys
/// are ignored, and [`UNetConfig::read`] warns of them.
///
/// ```
/// use ddim::models::unet2d::*;
///
/// let config = UNetConfig::parse(r#"{
///     "sample_size": 64, "act_fn": "silu", "time_embedding_type": "positional",
///     "downsample_type": "resnet", "resnet_time_scale_shift": "scale_shift",
///     "class_embed_type": "timestep"
/// }"#)?;
/// assert_eq!(config.sample_size, Some(SampleSize::Square(64)));
/// assert_eq!((config.act_fn, config.downsample_type), (Activation::Silu, Resampling::Resnet));
/// assert_eq!(config.time_embedding_type, TimeEmbedding::Positional);
/// assert_eq!(config.resnet_time_scale_shift, TimeScaleShift::ScaleShift);
/// assert_eq!(config.class_embed_type, Some(ClassEmbedding::Timestep));
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UNetConfig {
    /// The class that opens the file in diffusers.
    #[serde(rename = "_class_name")]
    pub class_name: String,
    /// The version of diffusers whose keys these are.
    #[serde(rename = "_diffusers_version")]
    pub diffusers_version: String,
    /// The size of the images that the model was made for.
    pub sample_size: Option<SampleSize>,
    /// Channels of the noisy image.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Is `2x - 1` taken of the input?
    pub center_input_sample: bool,
    /// Kind of time embedding.
    pub time_embedding_type: TimeEmbedding,
    /// Width of the time embedding: four times that of the first level if absent.
    pub time_embedding_dim: Option<usize>,
    /// Subtracted from the number of frequencies in the exponent's denominator: 1 in DDPM, 0 in ADM.
    pub freq_shift: usize,
    /// Do the cosines come first?
    pub flip_sin_to_cos: bool,
    /// The levels of the encoder, finest first.
    pub down_block_types: Vec<DownBlock>,
    /// The middle, if there is one.
    pub mid_block_type: Option<MidBlock>,
    /// The levels of the decoder, coarsest first.
    pub up_block_types: Vec<UpBlock>,
    /// Channels of each level, finest first.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks of an encoder level; a decoder level has one more.
    pub layers_per_block: usize,
    /// Divisor of the residual sums in the middle block.
    pub mid_block_scale_factor: f64,
    /// 1: all four sides of a downsampling convolution are padded; 0: right and bottom.
    pub downsample_padding: usize,
    /// Downsampling of encoder levels with attention.
    pub downsample_type: Resampling,
    /// Upsampling of decoder levels with attention.
    pub upsample_type: Resampling,
    /// Share of the activations that training drops in each residual block.
    pub dropout: f64,
    /// The activation function.
    pub act_fn: Activation,
    /// Channels of an attention head; one head of all channels if absent.
    pub attention_head_dim: Option<usize>,
    /// Heads of every attention, whatever its width: ADM's models of more than one width have it,
    /// diffusers' `UNet2DModel` has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_attention_heads: Option<usize>,
    /// Outputs of the first convolution, if not those of the finest level: diffusers has no such key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conv_in_channels: Option<usize>,
    /// Sines and cosines of the time embedding, if not as many as the finest level has channels:
    /// diffusers has no such key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_proj_channels: Option<usize>,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// Groups of the middle attention's norm, if other; see [`UNetConfig::middle_norm_groups`].
    pub attn_norm_num_groups: Option<usize>,
    /// Added to the variance in every group norm.
    pub norm_eps: f64,
    /// Injection of the time embedding into a residual block.
    pub resnet_time_scale_shift: TimeScaleShift,
    /// Has the middle its attention?
    pub add_attention: bool,
    /// Class embedding other than a table.
    pub class_embed_type: Option<ClassEmbedding>,
    /// Number of classes, each a row of a table, where `class_embed_type` is absent.
    pub num_class_embeds: Option<usize>,
    /// Rows of the table of a learned time embedding: diffusers has the key, this crate no use for it.
    pub num_train_timesteps: Option<usize>,
}

impl Default for UNetConfig {
    fn default() -> Self {
        use {DownBlock as Down, UpBlock as Up};
        Self {
            class_name: "UNet2DModel".into(),
            diffusers_version: "0.42.1".into(),
            sample_size: None,
            in_channels: 3,
            out_channels: 3,
            center_input_sample: false,
            time_embedding_type: TimeEmbedding::Positional,
            time_embedding_dim: None,
            freq_shift: 0,
            flip_sin_to_cos: true,
            down_block_types: vec![Down::Plain, Down::Attention, Down::Attention, Down::Attention],
            mid_block_type: Some(MidBlock::UNetMidBlock2D),
            up_block_types: vec![Up::Attention, Up::Attention, Up::Attention, Up::Plain],
            block_out_channels: vec![224, 448, 672, 896],
            layers_per_block: 2,
            mid_block_scale_factor: 1.0,
            downsample_padding: 1,
            downsample_type: Resampling::Conv,
            upsample_type: Resampling::Conv,
            dropout: 0.0,
            act_fn: Activation::Silu,
            attention_head_dim: Some(8),
            num_attention_heads: None,
            conv_in_channels: None,
            time_proj_channels: None,
            norm_num_groups: 32,
            attn_norm_num_groups: None,
            norm_eps: 1e-5,
            resnet_time_scale_shift: TimeScaleShift::Default,
            add_attention: true,
            class_embed_type: None,
            num_class_embeds: None,
            num_train_timesteps: None,
        }
    }
}

impl UNetConfig {
    /// Reads a `config.json`; warns of keys that are not known, and where the channels are left to the
    /// default.
    ///
    /// # Errors
    /// If the file cannot be read, or as [`UNetConfig::parse`]; both name the file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = files::read_json(path).map_err(FileError::at(path))?;
        let (config, keys): (Self, _) =
            files::parse_config(&text, &NULLABLE).map_err(ConfigError::at(path))?;
        files::warn_of_others::<Self>(path, &keys, &BEYOND_DIFFUSERS);
        if !keys.iter().any(|key| key == "block_out_channels") {
            log::warn!(
                "{}: no block_out_channels: diffusers' default {:?} holds, with the other defaults a \
                 model of 274 million parameters",
                path.display(),
                config.block_out_channels
            );
        }
        // After the warnings: a misspelt key leaves a default that may not fit the others.
        config.check().map_err(ConfigError::at(path))?;
        Ok(config)
    }

    /// Reads the text of a `config.json` and checks it.
    ///
    /// # Errors
    /// If it is not JSON, a value has the wrong type or is not supported, or as
    /// [`UNetConfig::check`]; the error names the key.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let (config, _): (Self, _) = files::parse_config(text, &NULLABLE)?;
        config.check()?;
        Ok(config)
    }

    /// The text of a `config.json` that diffusers opens.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain fields with string keys are JSON") + "\n"
    }
}
