//! Pictures and captions as a U-Net in training reads them: each is encoded once.
use super::{
    Codec,
    prompt::{TextEmbedding, vector},
    text::{TextExecutor, check_tokens, join},
};
use crate::{
    data::Dataset,
    error::{Error, TrainingError},
    gpu::Gpu,
    models::autoencoder_kl::Posterior,
    pipeline::{LatentPipeline, TextEncoders},
    training::LatentData,
};
use std::collections::HashMap;

/// Pictures that are encoded between two calls of the listener.
const AT_ONCE: usize = 16;

impl LatentData {
    /// Encodes pictures by the pipeline's autoencoder, and their captions by its text encoders, for each of which
    /// `captions` has the tokens, one caption's after another; `hear` is told how many of how many pictures and
    /// different captions are done.
    ///
    /// # Errors
    /// If the pictures do not fit the autoencoder, there is not one caption for each, the encoders do not fit each
    /// other, or a network does not fit the device.
    pub fn encode(
        gpu: &Gpu,
        pipeline: &LatentPipeline,
        encoders: &TextEncoders,
        (pictures, captions): (&Dataset, &[Vec<u32>]),
        mut hear: impl FnMut(usize, usize),
    ) -> Result<Self, Error> {
        let [tokens, _] = check_tokens(encoders, captions)?;
        let (mut different, mut numbers) = (Vec::new(), HashMap::new());
        let mut text_of = Vec::new();
        // Captions of the same tokens for one encoder have the same for another.
        for (at, caption) in captions[0].chunks(tokens).enumerate() {
            text_of.push(*numbers.entry(caption).or_insert_with(|| {
                different.push(at);
                different.len() - 1
            }));
        }
        let (channels, count) = (pipeline.vae.config().in_channels, pictures.len());
        let found = [pictures.channels(), text_of.len()];
        if found != [channels, count] {
            let what = |[channels, texts]: [usize; 2]| {
                format!("{count} of {channels} channels with {texts} captions")
            };
            let (expected, found) = (what([channels, count]), what(found));
            return Err(TrainingError::Images { expected, found }.into());
        }
        let (mut done, total) = (0, count + different.len() * encoders.encoders.len());
        let mut count_more = |more: usize| {
            done += more;
            hear(done, total);
        };
        let all = texts(gpu, encoders, captions, (tokens, &different), &mut count_more)?;
        let size = [pictures.height(), pictures.width()];
        let told = all.iter().map(|text| vector(&pipeline.unet, text, size));
        let vectors = told.collect::<Result<Option<Vec<_>>, Error>>()?.unwrap_or_default();
        let texts = all.into_iter().map(|text| text.tokens).collect();
        let posteriors = posteriors(gpu, pipeline, pictures, &mut count_more)?;
        let autoencoder = pipeline.vae.config().clone();
        Ok(Self { autoencoder, posteriors, texts, vectors, text_of })
    }
}

/// What the text encoders make of the captions of so many tokens at these places; one encoder is on the device at a time.
fn texts(
    gpu: &Gpu,
    encoders: &TextEncoders,
    captions: &[Vec<u32>],
    (tokens, places): (usize, &[usize]),
    hear: &mut impl FnMut(usize),
) -> Result<Vec<TextEmbedding>, Error> {
    let (two, mut all) = (encoders.encoders.len() > 1, Vec::new());
    for (number, (encoder, ids)) in encoders.encoders.iter().zip(captions).enumerate() {
        let network = &encoder.network;
        let mut executor = TextExecutor::new(gpu, network, &*encoder.weights, 1, two)?;
        let mut found = Vec::with_capacity(places.len());
        for place in places {
            found.extend(executor.encode(network, &ids[place * tokens..][..tokens])?);
            hear(1);
        }
        all = if number == 0 { found } else { join(all, found, tokens) };
    }
    Ok(all)
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
