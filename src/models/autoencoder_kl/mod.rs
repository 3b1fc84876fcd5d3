//! diffusers' `AutoencoderKL`: between images and latents. Rombach et al. 2022, section 3.1; Esser et al. 2021,
//! table 7.
//!
//! ```
//! use ddim::models::autoencoder_kl::{Autoencoder, AutoencoderConfig, Posterior};
//! # use ddim::{graph::Graph, nn::trace, value::TensorType};
//!
//! let vae = Autoencoder::new(AutoencoderConfig::default())?;
//! let (_, moments) = trace(Graph::new(), |layers| {
//!     let image = layers.graph.input(TensorType::f32(&[1, 16, 16, 3]));
//!     let moments = vae.encode(layers, image)?;
//!     Ok(layers.graph.type_of(moments))
//! })?;
//! assert_eq!(moments, TensorType::f32(&[1, 16, 16, 2 * 4]));
//! // A pixel of means 1 and variances 1, and noise of 0.5.
//! assert_eq!(Posterior::of(&[1.0, 0.0], 1).sample(&[0.5]), [1.5]);
//! # Ok::<(), ddim::Error>(())
//! ```
//!
//! [`latent::Codec`](crate::latent::Codec) runs it on a device.
mod config;
mod posterior;

pub use config::{AutoencoderConfig, DecoderBlock, EncoderBlock};
pub use posterior::Posterior;

use super::blocks::{Attend, Blocks, Level, POINTWISE, SAME};
use crate::{
    error::Error,
    graph::Graph,
    nn::{Layers, ParameterSpec, trace},
    value::{TensorType, Value},
};

/// Added to the variance in every group norm.
const EPS: f64 = 1e-6;

/// An autoencoder.
///
/// Example: [`crate::models::autoencoder_kl`].
#[derive(Clone, Debug)]
pub struct Autoencoder {
    config: AutoencoderConfig,
}

impl Autoencoder {
    /// The autoencoder of this configuration.
    ///
    /// # Errors
    /// If the configuration is inconsistent.
    pub fn new(config: AutoencoderConfig) -> Result<Self, Error> {
        config.check()?;
        Ok(Self { config })
    }

    /// Its configuration.
    pub fn config(&self) -> &AutoencoderConfig {
        &self.config
    }

    /// The parameters of encoder and decoder, in the order in which they ask for them.
    ///
    /// # Errors
    /// If the configuration is inconsistent.
    pub fn parameters(&self) -> Result<Vec<ParameterSpec>, Error> {
        Ok([self.encoder_parameters()?, self.decoder_parameters()?].concat())
    }

    /// The parameters of the encoder.
    ///
    /// # Errors
    /// If the configuration is inconsistent.
    pub fn encoder_parameters(&self) -> Result<Vec<ParameterSpec>, Error> {
        let (side, channels) = (self.config.factor(), self.config.in_channels);
        let (found, _) = trace(Graph::new(), |layers| {
            let image = layers.graph.input(TensorType::f32(&[1, side, side, channels]));
            self.encode(layers, image)
        })?;
        Ok(found)
    }

    /// The parameters of the decoder.
    ///
    /// # Errors
    /// If the configuration is inconsistent.
    pub fn decoder_parameters(&self) -> Result<Vec<ParameterSpec>, Error> {
        let (found, _) = trace(Graph::new(), |layers| {
            let latent = TensorType::f32(&[1, 1, 1, self.config.latent_channels]);
            let latent = layers.graph.input(latent);
            self.decode(layers, latent)
        })?;
        Ok(found)
    }

    fn blocks(&self) -> Blocks {
        let groups = self.config.norm_num_groups;
        Blocks { groups, eps: EPS, dropout: 0.0, scale_shift: false, embedding: None }
    }

    fn level(width: usize, layers: usize) -> Level<'static> {
        Level { width, layers, attend: None, whole_block: false }
    }

    /// Two residual blocks, and between them attention with one head.
    fn middle(&self, layers: &mut Layers, h: Value) -> Result<Value, Error> {
        let blocks = self.blocks();
        let attend: Attend =
            Box::new(move |layers, _, h| blocks.attention(layers, h, 1, Some(blocks.groups), 1.0));
        let attend = self.config.mid_block_add_attention.then_some(attend);
        blocks.middle(layers, h, 1.0, attend)
    }

    /// Appends the encoder: the moments `[batch, height / f, width / f, 2 latent_channels]` of a
    /// [`Posterior`] of images `[batch, height, width, channels]`.
    ///
    /// # Errors
    /// If `image` is none, or a parameter is missing.
    pub fn encode(&self, layers: &mut Layers, image: Value) -> Result<Value, Error> {
        let (config, blocks) = (&self.config, self.blocks());
        let widths = &config.block_out_channels;
        let levels = widths.iter().map(|&width| Self::level(width, config.layers_per_block));
        let levels: Vec<_> = levels.collect();
        let moments = 2 * config.latent_channels;
        let h = layers.scope("encoder", |layers| {
            let h = layers.conv2d("conv_in", image, widths[0], 3, SAME)?;
            let results = blocks.encoder(layers, h, &levels, 0)?;
            let h = self.middle(layers, *results.last().unwrap_or(&h))?;
            blocks.output(layers, h, moments)
        })?;
        match config.use_quant_conv {
            true => layers.conv2d("quant_conv", h, moments, 1, POINTWISE),
            false => Ok(h),
        }
    }

    /// Appends the decoder: the images of latents `[batch, height, width, latent_channels]`.
    ///
    /// # Errors
    /// If `latent` is none, or a parameter is missing.
    pub fn decode(&self, layers: &mut Layers, latent: Value) -> Result<Value, Error> {
        let (config, blocks) = (&self.config, self.blocks());
        let widths = config.block_out_channels.iter().rev();
        let levels = widths.map(|&width| Self::level(width, config.layers_per_block + 1));
        let levels: Vec<_> = levels.collect();
        let h = match config.use_post_quant_conv {
            true => {
                let channels = config.latent_channels;
                layers.conv2d("post_quant_conv", latent, channels, 1, POINTWISE)?
            }
            false => latent,
        };
        layers.scope("decoder", |layers| {
            let h = layers.conv2d("conv_in", h, levels[0].width, 3, SAME)?;
            let h = self.middle(layers, h)?;
            let h = blocks.decoder(layers, h, Vec::new(), &levels)?;
            blocks.output(layers, h, config.out_channels)
        })
    }
}
