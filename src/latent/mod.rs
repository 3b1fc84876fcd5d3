//! Latent diffusion: pictures to latents and back, and runs that begin at a picture or keep a part of one.
mod codec;
mod picture;
mod tiles;

pub use codec::Codec;
pub use picture::{KeptPart, latent_mask, noised, partial};
