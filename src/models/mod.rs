//! Models: networks of [`nn::Layers`](crate::nn::Layers).
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
