//! From noise, or a picture and noise, to latents, step by step on the device.
use super::{Codec, KeptPart, PictureRequest, PictureStart, PromptEmbeddings, latent_mask, noised};
use crate::{
    diffusion::{NormalNoise, Sampler, samplers::Table, schedule::Level, streams},
    error::Error,
    gpu::Gpu,
    models::autoencoder_kl::{AutoencoderConfig, Posterior},
    nn::Model,
    pipeline::LatentPipeline,
    value::TensorType,
};

/// How far a picture is.
///
/// Example: [`crate::latent`].
#[derive(Clone, Copy, Debug)]
pub struct DenoisingProgress<'a> {
    /// Its number.
    pub image: usize,
    /// Steps that are done.
    pub steps: usize,
    /// The latents that the last step predicted, as the U-Net sees them, if the request asks for them.
    pub predicted: Option<&'a [f32]>,
}

/// A request whose U-Net is on the device.
///
/// Example: [`crate::latent`].
pub struct Denoising {
    table: Table,
    count: usize,
    seed: u64,
    predictions: bool,
    size: [usize; 2],
    sampler: Sampler,
    start: Option<EncodedStart>,
}

/// A picture to start from as latents.
struct EncodedStart {
    config: AutoencoderConfig,
    posterior: Posterior,
    posterior_noise: NormalNoise,
    noise: NormalNoise,
    /// The level that each step leaves.
    levels: Vec<Level>,
    mask: Option<Vec<f32>>,
    /// Whether nothing of the picture is left in the noise.
    pure: bool,
}

impl Denoising {
    /// Encodes the picture to start from, if there is one, then puts the U-Net on the device.
    ///
    /// # Errors
    /// If size, picture, mask or strength do not fit the model, nor the embeddings, or a network the device.
    pub fn new(
        gpu: &Gpu,
        pipeline: &LatentPipeline,
        embeddings: &PromptEmbeddings,
        request: &PictureRequest,
    ) -> Result<Self, Error> {
        let unet = pipeline.unet.clone().with_tokens(embeddings.count);
        let size @ [height, width] = request.latent_size(&unet, &pipeline.vae)?;
        if let Some(labels) = unet.label_type(1) {
            return Err(Error::Labels { expected: Some(labels), found: None });
        }
        let (context, vectors) = embeddings.conditions(&unet, request.is_guided(), request.size)?;
        let table = request.steps()?;
        request.check_start(&pipeline.vae)?;
        let encoded = |start| EncodedStart::new(gpu, pipeline, request, &table, start);
        let start = request.start.map(encoded).transpose()?;
        let (options, weights) = (request.options(), &*pipeline.unet_weights);
        let size_of_one = [1, height, width];
        let seed = request.seed;
        let mut sampler = Sampler::with(gpu, &unet, weights, size_of_one, &table, &options, seed)?;
        sampler.set_context(&context)?;
        if let Some(vectors) = vectors {
            sampler.set_vectors(&vectors)?;
        }
        let PictureRequest { count, predictions, .. } = *request;
        Ok(Self { table, count, seed, predictions, size, sampler, start })
    }

    /// Steps of a picture: evaluations of the network.
    pub fn steps(&self) -> usize {
        self.table.steps.len()
    }

    /// Height and width of the latents.
    pub fn latent_size(&self) -> [usize; 2] {
        self.size
    }

    /// The latents of all pictures as the U-Net sees them, `[count, height, width, channels]`; `hear` is told how far a
    /// picture is.
    ///
    /// # Errors
    /// If numbers are not finite, or the device is lost.
    pub fn latents(&mut self, mut hear: impl FnMut(DenoisingProgress)) -> Result<Vec<f32>, Error> {
        let mut all = Vec::new();
        for image in 0..self.count {
            let kept = self.begin(image)?;
            match self.predictions || kept.is_some() {
                true => self.stepwise(image, kept, &mut hear)?,
                false => self.sampler.advance_with(self.table.steps.len(), |steps| {
                    hear(DenoisingProgress { image, steps, predicted: None });
                })?,
            }
            all.extend(self.sampler.images()?);
        }
        Ok(all)
    }

    /// Puts a picture at its start; what of it is kept comes back as latents and noise.
    fn begin(&mut self, image: usize) -> Result<Option<[Vec<f32>; 2]>, Error> {
        let number = image as u32;
        let Some(start) = &mut self.start else {
            self.sampler.begin(number)?;
            return Ok(None);
        };
        let drawn = start.posterior_noise.draw(self.seed, number)?;
        let latent = start.config.scaled(&start.posterior.sample(&drawn));
        let noise = start.noise.draw(self.seed, number)?;
        let x = if start.pure { noise.clone() } else { noised(&start.levels[0], &latent, &noise) };
        self.sampler.begin_from(number, &x)?;
        Ok(start.mask.is_some().then_some([latent, noise]))
    }

    /// Takes all steps, each with its predicted picture or the kept part put back.
    fn stepwise(
        &mut self,
        image: usize,
        kept: Option<[Vec<f32>; 2]>,
        hear: &mut impl FnMut(DenoisingProgress),
    ) -> Result<(), Error> {
        let mut x = self.sampler.images()?;
        for (index, step) in self.table.steps.iter().enumerate() {
            self.sampler.advance(1)?;
            let mut next = self.sampler.images()?;
            let predicted = match self.predictions {
                true => Some(self.sampler.prediction()?),
                false => None,
            };
            let predicted = predicted.map(|output| {
                let clip = self.table.clip;
                let image = |(x, output): (&f32, f32)| {
                    step.apply(clip, f64::from(*x), f64::from(output), 0.0).0 as f32
                };
                x.iter().zip(output).map(image).collect::<Vec<f32>>()
            });
            if let (Some([latent, noise]), Some(start)) = (&kept, &self.start)
                && let Some(mask) = &start.mask
            {
                let kept = KeptPart { latent, noise, mask };
                kept.put_back(&mut next, start.levels.get(index + 1));
                self.sampler.set_images(&next)?;
            }
            hear(DenoisingProgress { image, steps: index + 1, predicted: predicted.as_deref() });
            x = next;
        }
        Ok(())
    }
}

impl EncodedStart {
    fn new(
        gpu: &Gpu,
        pipeline: &LatentPipeline,
        request: &PictureRequest,
        table: &Table,
        start: PictureStart,
    ) -> Result<Self, Error> {
        let (network, [height, width]) = (&pipeline.vae, request.size);
        let codec = Codec { gpu, network, weights: &*pipeline.vae_weights, tile: request.tile };
        let posterior = codec.encode(start.picture, [1, height, width])?;
        let config = network.config().clone();
        let [rows, columns] = request.size.map(|side| side / config.factor());
        let latent = TensorType::f32(&[1, rows, columns, config.latent_channels]);
        let mask = start.mask.map(|mask| latent_mask(mask, [1, height, width], config.factor()));
        Ok(Self {
            posterior,
            posterior_noise: NormalNoise::new(gpu, latent, streams::POSTERIOR, 1.0)?,
            noise: NormalNoise::new(gpu, latent, streams::START, 1.0)?,
            levels: table.levels(&pipeline.scheduler.schedule()?)?,
            pure: mask.is_some() && start.strength == 1.0,
            mask,
            config,
        })
    }
}
