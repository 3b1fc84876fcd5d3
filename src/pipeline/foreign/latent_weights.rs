//! Where the weights of Stable Diffusion's networks stand in its files, and by which names.
use super::stable_diffusion::{StableDiffusion, UNET, VAE};
use crate::weights::{Adm, Names};

impl StableDiffusion {
    /// What the names of the U-Net's weights begin with, and how they go on.
    pub fn unet_names(&self) -> (&'static str, Names) {
        let attention = self.unet.attention.iter().rev().copied().collect();
        let adm = Adm { layers: self.unet.layers, attention, interleaved: None };
        (UNET, Names::LatentUnet(adm))
    }

    /// What the names of the autoencoder's weights begin with, and how they go on.
    pub fn vae_names(&self) -> (&'static str, Names) {
        let levels = self.vae.as_ref().map_or(0, |vae| vae.widths.len());
        (VAE, Names::Autoencoder { levels })
    }
}
