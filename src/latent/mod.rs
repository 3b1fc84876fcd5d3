//! Latent diffusion: from a prompt to pictures, pictures to latents and back, and runs that begin at a picture or keep a
//! part of one.
mod codec;
mod denoising;
#[cfg(feature = "pictures")]
mod files;
mod picture;
mod plans;
mod prompt;
mod request;
mod text;
mod tiles;
mod training_data;

pub use codec::{Codec, Half, codec_plan};
pub use denoising::{Denoising, DenoisingProgress};
#[cfg(feature = "pictures")]
pub use files::{read_mask, read_start};
pub use picture::{KeptPart, latent_mask, noised, partial};
pub use plans::{LatentNetworks, NetworkPlan, PlannedNetwork};
pub use prompt::{PromptEmbeddings, TextEmbedding};
pub use request::{PictureRequest, PictureStart};
pub use text::text_plan;
