//! Adapters of a latent pipeline's networks: its U-Net and its text encoders.
use super::{
    LatentPipeline,
    prompts::{TextEncoder, TextEncoders},
};
use crate::{
    error::Error,
    nn::AdaptedWeights,
    weights::{Adapted, LoraFile, Loras},
};
use std::sync::Arc;

/// What the text encoders are called in files of adapters.
const TEXTS: [Adapted; 2] = [Adapted::TextEncoder, Adapted::TextEncoder2];

impl LatentPipeline {
    /// Reads files of adapters for the U-Net and these text encoders.
    ///
    /// # Errors
    /// If a file cannot be read, or holds a tensor that belongs to no layer of them; the error names it.
    pub fn read_loras(
        &self,
        text: Option<&TextEncoders>,
        files: &[LoraFile],
    ) -> Result<Loras, Error> {
        let encoders = text.into_iter().flat_map(|text| &text.encoders);
        let encoders = encoders.map(|of| of.network.parameters()).collect::<Result<Vec<_>, _>>()?;
        let unet = self.unet.parameters()?;
        let texts = TEXTS.into_iter().zip(&encoders).map(|(of, specs)| (of, &specs[..]));
        let networks: Vec<_> = [(Adapted::Unet, &unet[..])].into_iter().chain(texts).collect();
        Ok(Loras::read(files, &networks)?)
    }

    /// The same with adapters beside the U-Net's layers. Their strengths may change without the model being read again:
    /// [`Sampler::set_adapters`](crate::diffusion::Sampler::set_adapters) of [`Loras::weights`].
    #[must_use]
    pub fn with_loras(self, loras: &Loras) -> Self {
        let (of, base) = (Adapted::Unet, self.unet_weights);
        let unet_weights = Arc::new(AdaptedWeights { base, adapters: loras.weights(of) });
        Self { unet: self.unet.with_adapters(loras.adapters(of)), unet_weights, ..self }
    }
}

impl TextEncoders {
    /// The same with adapters beside the encoders' layers.
    #[must_use]
    pub fn with_loras(self, loras: &Loras) -> Self {
        let adapted = |(encoder, of): (TextEncoder, Adapted)| {
            let adapters = loras.weights(of);
            let weights = Arc::new(AdaptedWeights { base: encoder.weights, adapters });
            let network = encoder.network.with_adapters(loras.adapters(of));
            TextEncoder { network, weights, ..encoder }
        };
        Self { encoders: self.encoders.into_iter().zip(TEXTS).map(adapted).collect(), ..self }
    }
}
