//! Models: networks of [`nn::Layers`](crate::nn::Layers).
//!
//! ```
//! use ddim::{models::classifier::ConvClassifier, nn::Weights};
//!
//! let network = ConvClassifier { size: [8, 8, 1], classes: 10 };
//! let parameters = network.parameters()?;
//! assert_eq!(parameters[0].name, "convolutions.0.weight");
//! let weights = Weights::initial(&parameters, 7);
//! assert_eq!(weights.len(), parameters.len());
//! # Ok::<(), ddim::Error>(())
//! ```
//!
//! A whole program, with a network of its own: `examples/own_model.rs`.
pub mod autoencoder_kl;
pub(crate) mod blocks;
pub mod classifier;
pub mod classifier_unet;
pub mod clip_text;
pub mod inception;
mod per_level;
pub mod unet2d;
pub mod unet2d_condition;

pub use per_level::PerLevel;
