//! Models: networks of [`nn::Layers`](crate::nn::Layers).
pub mod classifier;
pub mod classifier_unet;
pub mod clip_text;
pub mod unet2d;
