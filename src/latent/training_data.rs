//! Pictures and captions as a U-Net in training reads them: each is encoded once.
use super::{Codec, text::TextExecutor};
use crate::{
    data::Dataset,
    error::{Error, TrainingError},
    gpu::Gpu,
    models::{autoencoder_kl::Posterior, clip_text::ClipText},
    nn::ParameterSource,
    pipeline::LatentPipeline,
    training::LatentData,
};
use std::collections::HashMap;

/// Pictures that are encoded between two calls of the listener.
const AT_ONCE: usize = 16;

impl LatentData {
    /// Encodes pictures by the pipeline's autoencoder, and the tokens of their captions, one's after another, by a text
    /// encoder; `hear` is told how many of how many pictures and different captions are done.
    ///
    /// # Errors
    /// If the pictures do not fit the autoencoder, there is not one caption for each, or a network does not fit the
    /// device.
    pub fn encode(
        gpu: &Gpu,
        pipeline: &LatentPipeline,
        (encoder, weights): (&ClipText, &dyn ParameterSource),
        (pictures, captions): (&Dataset, &[u32]),
        mut hear: impl FnMut(usize, usize),
    ) -> Result<Self, Error> {
        let tokens = encoder.config().max_position_embeddings;
        let (mut different, mut numbers) = (Vec::new(), HashMap::new());
        let number = |caption| {
            *numbers.entry(caption).or_insert_with(|| {
                different.push(caption);
                different.len() - 1
            })
        };
        let text_of: Vec<usize> = captions.chunks(tokens).map(number).collect();
        let (channels, count) = (pipeline.vae.config().in_channels, pictures.len());
        let found = [pictures.channels(), text_of.len()];
        if found != [channels, count] {
            let what = |[channels, texts]: [usize; 2]| {
                format!("{count} of {channels} channels with {texts} captions")
            };
            let (expected, found) = (what([channels, count]), what(found));
            return Err(TrainingError::Images { expected, found }.into());
        }
        let (mut done, total) = (0, count + different.len());
        let mut count_more = |more: usize| {
            done += more;
            hear(done, total);
        };
        let texts = texts(gpu, encoder, weights, &different, &mut count_more)?;
        let posteriors = posteriors(gpu, pipeline, pictures, &mut count_more)?;
        let autoencoder = pipeline.vae.config().clone();
        Ok(Self { autoencoder, posteriors, texts, text_of })
    }
}

/// What a text encoder makes of texts of so many tokens as it takes.
fn texts(
    gpu: &Gpu,
    encoder: &ClipText,
    weights: &dyn ParameterSource,
    texts: &[&[u32]],
    hear: &mut impl FnMut(usize),
) -> Result<Vec<Vec<f32>>, Error> {
    let mut executor = TextExecutor::new(gpu, encoder, weights, 1, false)?;
    let mut encoded = Vec::with_capacity(texts.len());
    for text in texts {
        encoded.extend(executor.encode(encoder, text)?.into_iter().map(|of| of.tokens));
        hear(1);
    }
    Ok(encoded)
}

/// The distribution of each picture's latents.
fn posteriors(
    gpu: &Gpu,
    pipeline: &LatentPipeline,
    pictures: &Dataset,
    hear: &mut impl FnMut(usize),
) -> Result<Vec<Posterior>, Error> {
    let (network, weights) = (&pipeline.vae, &*pipeline.vae_weights);
    let codec = Codec { gpu, network, weights, tile: None };
    let mut posteriors = Vec::with_capacity(pictures.len());
    for first in (0..pictures.len()).step_by(AT_ONCE) {
        let some = first..pictures.len().min(first + AT_ONCE);
        let count = some.len();
        let pixels: Vec<f32> = some.flat_map(|index| pictures.image(index)).collect();
        let all = codec.encode(&pixels, [count, pictures.height(), pictures.width()])?;
        let elements = all.mean.len() / count;
        let each = all.mean.chunks(elements).zip(all.logvar.chunks(elements));
        let of = |(mean, logvar): (&[f32], &[f32])| Posterior {
            mean: mean.into(),
            logvar: logvar.into(),
        };
        posteriors.extend(each.map(of));
        hear(count);
    }
    Ok(posteriors)
}
