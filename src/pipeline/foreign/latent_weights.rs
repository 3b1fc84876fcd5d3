//! The weights of Stable Diffusion's networks, by their names in its files.
use super::stable_diffusion::{StableDiffusion, UNET, VAE};
use crate::{
    error::WeightsError,
    nn::ParameterSpec,
    weights::{Adm, FileWeights, Names, NonFinite, TensorFile},
};
use std::{path::Path, sync::Arc};

impl StableDiffusion {
    /// The U-Net's weights.
    pub fn unet_weights(
        &self,
        path: &Path,
        file: &Arc<dyn TensorFile>,
        place: &str,
        expected: &[ParameterSpec],
        non_finite: NonFinite,
    ) -> Result<FileWeights, WeightsError> {
        let attention = self.unet.attention.iter().rev().copied().collect();
        let adm = Adm { layers: self.unet.layers, attention, interleaved: None };
        let (file, prefix) = (Arc::clone(file), format!("{place}{UNET}"));
        FileWeights::of(path, file, &prefix, expected, &Names::LatentUnet(adm), non_finite)
    }

    /// The autoencoder's weights.
    pub fn vae_weights(
        &self,
        path: &Path,
        file: &Arc<dyn TensorFile>,
        place: &str,
        expected: &[ParameterSpec],
        non_finite: NonFinite,
    ) -> Result<FileWeights, WeightsError> {
        let (file, prefix) = (Arc::clone(file), format!("{place}{VAE}"));
        let levels = self.vae.as_ref().map_or(0, |vae| vae.widths.len());
        let names = Names::Autoencoder { levels };
        FileWeights::of(path, file, &prefix, expected, &names, non_finite)
    }
}
