//! Models: networks of [`nn::Layers`](crate::nn::Layers).
pub mod classifier;
pub mod unet2d;
