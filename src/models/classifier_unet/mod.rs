//! The classifier of noisy images that guides ADM: Dhariwal and Nichol 2021, section 4. The encoder and the middle of the
//! U-Net, then a pool over the pixels; guided-diffusion's `EncoderUNetModel`.
//!
//! ```
//! use ddim::{models::classifier_unet::{ClassifierConfig, ClassifierUNet}, nn::Model};
//!
//! let classifier = ClassifierUNet::new(ClassifierConfig {
//!     image_size: 32,
//!     in_channels: 1,
//!     num_classes: 10,
//!     classifier_width: 64,
//!     channel_mult: "1,2,2".into(),
//!     ..ClassifierConfig::default()
//! })?;
//! assert_eq!((classifier.channels(), classifier.classes()), (1, Some(10)));
//! assert!(classifier.parameters()?.iter().any(|of| of.name.starts_with("out.2.")));
//! # Ok::<(), ddim::Error>(())
//! ```
//!
//! A whole program: `examples/guided_digits.rs`.
mod config;
mod pools;

pub use config::{ClassifierConfig, Pool};

use super::unet2d::{Encoded, UNet};
use crate::{
    error::{ConfigError, Error},
    nn::{self, Layers, Model, ModelInputs, ParameterSpec},
    value::Value,
};

/// A classifier of given flags. Its prediction is the logits `[batch, classes]`.
///
/// Example: [`crate::models::classifier_unet`].
#[derive(Clone, Debug)]
pub struct ClassifierUNet {
    config: ClassifierConfig,
    /// Of which the first half counts.
    encoder: UNet,
}

impl ClassifierUNet {
    /// The classifier of these flags.
    ///
    /// # Errors
    /// As [`ClassifierConfig::check`].
    pub fn new(config: ClassifierConfig) -> Result<Self, Error> {
        Ok(Self { encoder: UNet::new(config.encoder()?)?, config })
    }

    /// Its flags.
    pub fn config(&self) -> &ClassifierConfig {
        &self.config
    }

    /// The parameters, in the order in which the model asks for them. In `out` they go by
    /// guided-diffusion's names, elsewhere by those of a [`UNet`].
    ///
    /// # Errors
    /// If the flags are inconsistent.
    pub fn parameters(&self) -> Result<Vec<ParameterSpec>, Error> {
        nn::parameters(self, [1, self.config.image_size, self.config.image_size])
    }
}

impl Model for ClassifierUNet {
    fn channels(&self) -> usize {
        self.config.in_channels
    }

    fn out_channels(&self) -> usize {
        self.config.num_classes
    }

    fn classes(&self) -> Option<usize> {
        Some(self.config.num_classes)
    }

    fn build(&self, layers: &mut Layers, inputs: &ModelInputs) -> Result<Value, Error> {
        let of = layers.graph.type_of(inputs.x).shape;
        self.config.check_images(&of[1..]).map_err(ConfigError::Classifier)?;
        let Encoded { skips, h, .. } = self.encoder.encode(layers, inputs)?;
        let (unet, classes) = (self.encoder.config(), self.config.num_classes);
        layers.scope("out", |layers| match self.config.classifier_pool {
            Pool::Adaptive => pools::adaptive(layers, unet, h, classes),
            Pool::Attention => pools::attention(layers, unet, h, classes),
            Pool::Spatial => pools::spatial(layers, &skips, h, classes),
        })
    }
}
