//! Models: networks of [`nn::Layers`](crate::nn::Layers).
pub mod classifier;
pub mod classifier_unet;
pub mod unet2d;
