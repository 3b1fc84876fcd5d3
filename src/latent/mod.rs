//! Latent diffusion: from a prompt to pictures, pictures to latents and back, and runs that begin at a picture or keep a
//! part of one.
//!
//! ```no_run
//! use ddim::latent::{Codec, Denoising, PictureRequest, PromptEmbeddings};
//! # use ddim::{gpu::{Gpu, GpuOptions}, pipeline::{LatentPipeline, Opening}};
//! # use std::path::Path;
//! # let gpu = Gpu::new(&GpuOptions::default())?;
//!
//! let model = LatentPipeline::open(Path::new("model"), &Opening::default())?;
//! let embeddings = PromptEmbeddings::read(Path::new("prompt.safetensors"), &model.unet)?;
//! let table = model.scheduler.ddim(50, 0.0)?;
//! let request = PictureRequest::new(&table, [512, 512], 1, 0);
//! let mut denoising = Denoising::new(&gpu, &model, &embeddings, &request)?;
//! let latents = denoising.latents(|reached| println!("step {}", reached.steps))?;
//! let latents = model.vae.config().unscaled(&latents);
//! let codec = Codec { gpu: &gpu, network: &model.vae, weights: &*model.vae_weights, tile: None };
//! let pictures = codec.decode(&latents, [1, 64, 64])?;
//! assert_eq!(pictures.len(), 512 * 512 * 3);
//! # Ok::<(), ddim::Error>(())
//! ```
//!
//! Whole programs: `ddim generate` in `cli/src/generate/`, and `examples/latent_speed.rs`.
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
