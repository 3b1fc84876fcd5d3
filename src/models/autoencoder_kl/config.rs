//! diffusers' `config.json` of an `AutoencoderKL`.
use crate::{
    error::{ConfigError, FileError, Unexpected},
    files,
    models::unet2d::{Activation, SampleSize},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use std::path::Path;

/// Larger than any model, and small enough that no product of extents overflows.
const MAX_CHANNELS: usize = 1 << 20;

/// Keys of diffusers that mean other latents.
const REFUSED: [&str; 2] = ["latents_mean", "latents_std"];

/// Without effect on arithmetic in f32.
const WITHOUT_EFFECT: &str = "force_upcast";

/// A level of the encoder.
///
/// Example: [`AutoencoderConfig`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EncoderBlock {
    /// Residual blocks.
    DownEncoderBlock2D,
}

/// A level of the decoder.
///
/// Example: [`AutoencoderConfig`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DecoderBlock {
    /// Residual blocks.
    UpDecoderBlock2D,
}

/// The settings of an autoencoder, by diffusers' names. A missing key means diffusers' default.
///
/// ```
/// use ddim::models::autoencoder_kl::{AutoencoderConfig, DecoderBlock, EncoderBlock};
///
/// let config = AutoencoderConfig {
///     down_block_types: vec![EncoderBlock::DownEncoderBlock2D; 4],
///     up_block_types: vec![DecoderBlock::UpDecoderBlock2D; 4],
///     block_out_channels: vec![128, 256, 512, 512],
///     ..AutoencoderConfig::default()
/// };
/// config.check()?;
/// assert_eq!(config.factor(), 8);
/// assert_eq!(config.scaled(&[1.0]), [0.18215]);
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AutoencoderConfig {
    /// The class that opens the file in diffusers.
    #[serde(rename = "_class_name")]
    pub class_name: String,
    /// Channels of the images.
    pub in_channels: usize,
    /// Channels of the decoded images.
    pub out_channels: usize,
    /// The levels of the encoder, finest first.
    pub down_block_types: Vec<EncoderBlock>,
    /// The levels of the decoder, coarsest first.
    pub up_block_types: Vec<DecoderBlock>,
    /// Channels of each level, finest first.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks of an encoder level; a decoder level has one more.
    pub layers_per_block: usize,
    /// The activation function.
    pub act_fn: Activation,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// The size of the images that the model was made for, and of a tile.
    pub sample_size: SampleSize,
    /// A U-Net sees `(latent - shift_factor) * scaling_factor`.
    pub scaling_factor: f64,
    /// The same; 0 if absent.
    pub shift_factor: Option<f64>,
    /// Does a 1x1 convolution follow the encoder?
    pub use_quant_conv: bool,
    /// Does a 1x1 convolution go before the decoder?
    pub use_post_quant_conv: bool,
    /// Have the middles of encoder and decoder an attention?
    pub mid_block_add_attention: bool,
    /// All other keys.
    #[serde(flatten, skip_serializing)]
    pub others: Map<String, Json>,
}

impl Default for AutoencoderConfig {
    fn default() -> Self {
        Self {
            class_name: "AutoencoderKL".into(),
            in_channels: 3,
            out_channels: 3,
            down_block_types: vec![EncoderBlock::DownEncoderBlock2D],
            up_block_types: vec![DecoderBlock::UpDecoderBlock2D],
            block_out_channels: vec![64],
            layers_per_block: 1,
            act_fn: Activation::Silu,
            latent_channels: 4,
            norm_num_groups: 32,
            sample_size: SampleSize::Square(32),
            scaling_factor: 0.18215,
            shift_factor: None,
            use_quant_conv: true,
            use_post_quant_conv: true,
            mid_block_add_attention: true,
            others: Map::new(),
        }
    }
}

impl AutoencoderConfig {
    /// Reads a `config.json`; warns of keys that are not known.
    ///
    /// # Errors
    /// If the file cannot be read, or as [`AutoencoderConfig::parse`]; both name the file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = files::read_json(path).map_err(FileError::at(path))?;
        let config = Self::parse(&text).map_err(ConfigError::at(path))?;
        let keys: Vec<String> = config.others.keys().cloned().collect();
        files::warn_of_others::<Self>(path, &keys, &[WITHOUT_EFFECT]);
        Ok(config)
    }

    /// Reads the text of a `config.json` and checks it.
    ///
    /// # Errors
    /// If it is not JSON, a value has the wrong type or is not supported, or as
    /// [`AutoencoderConfig::check`]; the error names the key.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let (config, _): (Self, _) = files::parse_config(text, &["norm_num_groups"])
            .map_err(ConfigError::AutoencoderJson)?;
        config.check()?;
        Ok(config)
    }

    /// The text of a `config.json` that diffusers opens.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain fields with string keys are JSON") + "\n"
    }

    /// Checks the settings against their ranges and each other.
    ///
    /// # Errors
    /// If one does not fit: the error names the key, what it may be, and what it is.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.fits().map_err(ConfigError::Autoencoder)
    }

    fn fits(&self) -> Result<(), Unexpected> {
        const CLASS: &str = "AutoencoderKL";
        Unexpected::check(self.class_name == CLASS, "_class_name", CLASS, &self.class_name)?;
        for key in REFUSED {
            if let Some(found) = self.others.get(key) {
                return Err(Unexpected::new(key, "null", found));
            }
        }
        let levels = self.levels();
        Unexpected::range("block_out_channels", levels, 1, 16, "levels")?;
        let (down, up) = (self.down_block_types.len(), self.up_block_types.len());
        Unexpected::range("down_block_types", down, levels, levels, "levels")?;
        Unexpected::range("up_block_types", up, levels, levels, "levels")?;
        let channels = |key, found| Unexpected::range(key, found, 1, MAX_CHANNELS, "channels");
        channels("in_channels", self.in_channels)?;
        channels("out_channels", self.out_channels)?;
        channels("latent_channels", self.latent_channels)?;
        let groups = self.norm_num_groups;
        for &width in &self.block_out_channels {
            channels("block_out_channels", width)?;
            let expected = format!("a divisor of {width}, the channels of a level");
            let fits = groups > 0 && width.is_multiple_of(groups);
            Unexpected::check(fits, "norm_num_groups", expected, groups)?;
        }
        Unexpected::range("layers_per_block", self.layers_per_block, 1, 1000, "layers")?;
        let (scale, shift) = (self.scaling_factor, self.shift());
        let fits = scale.is_finite() && scale != 0.0;
        Unexpected::check(fits, "scaling_factor", "a number other than 0", scale)?;
        Unexpected::check(shift.is_finite(), "shift_factor", "a number", shift)?;
        let sides = self.sample_size.sides();
        Unexpected::range("sample_size", sides.0.min(sides.1), 1, MAX_CHANNELS, "pixels")
    }

    /// Number of resolutions.
    pub fn levels(&self) -> usize {
        self.block_out_channels.len()
    }

    /// Pixels of an image, along a side, of one of the latent's.
    pub fn factor(&self) -> usize {
        1 << (self.levels() - 1)
    }

    fn shift(&self) -> f64 {
        self.shift_factor.unwrap_or(0.0)
    }

    /// Latents as a U-Net sees them.
    pub fn scaled(&self, latents: &[f32]) -> Vec<f32> {
        let scale = |z: &f32| ((f64::from(*z) - self.shift()) * self.scaling_factor) as f32;
        latents.iter().map(scale).collect()
    }

    /// Latents of a U-Net as the decoder takes them.
    pub fn unscaled(&self, latents: &[f32]) -> Vec<f32> {
        let scale = |z: &f32| (f64::from(*z) / self.scaling_factor + self.shift()) as f32;
        latents.iter().map(scale).collect()
    }
}
