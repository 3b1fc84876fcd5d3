//! Training of adapters alone: Hu et al. 2021, section 4.1, of the U-Net of a latent diffusion, as diffusers'
//! `train_text_to_image_lora.py` does it.
use super::{
    TrainingOptions,
    checkpoint::{Resumed, settings},
    kept_averages::AVERAGES,
    steps::Metrics,
    trainer::Trainer,
};
use crate::{
    data::{Batch, Epochs},
    diffusion::schedule::SchedulerConfig,
    error::{Error, TrainingError},
    gpu::Gpu,
    models::{
        autoencoder_kl::{AutoencoderConfig, Posterior},
        unet2d_condition::TextUNet,
    },
    nn::{Model, ParameterSource},
    ops::Input,
    pipeline::RunFolder,
    value::TensorType,
    weights::{Adapted, adapter_bytes},
};
use serde_json::Value as Json;
use std::{ops::ControlFlow, path::Path};

/// The file of the adapters in a run's folder, by the name that diffusers looks for.
///
/// Example: [`LatentData`].
pub const ADAPTER_FILE: &str = "pytorch_lora_weights.safetensors";

/// Pictures and their captions as a U-Net in training reads them.
///
/// ```no_run
/// use ddim::training::{ADAPTER_FILE, LatentData, Trainer, TrainingOptions};
/// # use ddim::{data::Dataset, gpu::Gpu, nn::Adapters, pipeline::{LatentPipeline, TextEncoders}};
/// # use std::ops::ControlFlow;
/// # fn train(
/// #     gpu: &Gpu,
/// #     model: &LatentPipeline,
/// #     encoders: &TextEncoders,
/// #     pictures: &Dataset,
/// #     captions: &[Vec<u32>],
/// # ) -> Result<(), ddim::Error> {
///
/// let data = LatentData::encode(gpu, model, encoders, (pictures, captions), |_, _| {})?;
/// let adapters = Adapters::of(&model.unet.parameters()?, |name| name.contains("attn"), 8, 8.0);
/// let unet = model.unet.clone().with_tokens(77).with_adapters(adapters);
/// let (scheduler, options) = (model.scheduler.clone(), TrainingOptions::default());
/// let mut trainer = Trainer::new(gpu, unet, scheduler, [64, 64], options)?;
/// trainer.load_frozen(&*model.unet_weights)?;
/// trainer.train_latents(&data, 500, |_| ControlFlow::Continue(()))?;
/// trainer.save_adapters("style".as_ref(), serde_json::json!({ "steps": 500 }), &[])?;
/// println!("diffusers opens style/{ADAPTER_FILE}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct LatentData {
    /// The autoencoder, whose factor scales latents.
    pub autoencoder: AutoencoderConfig,
    /// The distribution of each picture's latents.
    pub posteriors: Vec<Posterior>,
    /// The texts, each `[tokens, channels]`.
    pub texts: Vec<Vec<f32>>,
    /// What SDXL is told beside each text; none for other models.
    pub vectors: Vec<Vec<f32>>,
    /// The number of each picture's text.
    pub text_of: Vec<usize>,
}

impl LatentData {
    /// Latents of a picture, drawn anew at each place in the sequence of all steps.
    fn latents(&self, picture: usize, place: u64, seed: u64) -> Vec<f32> {
        let posterior = &self.posteriors[picture];
        let of = Input::normal(TensorType::f32(&[posterior.mean.len()]));
        let noise = of.tensor(seed ^ place.wrapping_mul(0x9e37_79b9_7f4a_7c15)).data;
        let noise: Vec<f32> = noise.into_iter().map(|number| number as f32).collect();
        self.autoencoder.scaled(&posterior.sample(&noise))
    }
}

impl<M, S> Trainer<M, S> {
    /// Writes the parameters that training leaves as they are: those of a model with adapters.
    ///
    /// # Errors
    /// If one is missing or has another shape, or the device is lost.
    pub fn load_frozen(&mut self, weights: &dyn ParameterSource) -> Result<(), Error> {
        let Some(frozen) = &self.graph.frozen else { return Ok(()) };
        for (arena, pieces) in frozen.pieces(weights)? {
            self.executor.write_pieces(arena, pieces)?;
        }
        Ok(())
    }
}

impl Trainer<TextUNet> {
    /// Trains until `steps` steps are done in all, or `progress`, which is given the metrics of every step in order,
    /// breaks.
    ///
    /// # Errors
    /// As [`Trainer::step`] and [`Trainer::metrics`], or if the data do not fit the model.
    pub fn train_latents(
        &mut self,
        data: &LatentData,
        steps: u64,
        progress: impl FnMut(&[Metrics]) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let TrainingOptions { batch, seed, .. } = self.options;
        let parts = self.options.parts() as u64;
        let told = self.graph.condition.vector;
        let known = |text: &usize| {
            *text < data.texts.len() && (told.is_none() || *text < data.vectors.len())
        };
        let count = data.posteriors.len();
        if count == 0 || data.text_of.len() != count || !data.text_of.iter().all(known) {
            let (expected, found) = ("a text of each picture".into(), format!("{count} pictures"));
            return Err(TrainingError::Images { expected, found }.into());
        }
        let Some(context) = self.graph.condition.context else {
            return Err(Error::Context { expected: self.model.context_type(batch), found: None });
        };
        let mut epochs = Epochs::new(count, batch, seed);
        self.bursts(steps, progress, |trainer, step| {
            trainer.step_of(|trainer, part| {
                let (mut images, mut texts, mut vectors) = (Vec::new(), Vec::new(), Vec::new());
                for (place, picture) in epochs.step(step * parts + part as u64) {
                    let text = data.text_of[picture];
                    images.extend(data.latents(picture, place, seed));
                    texts.extend(&data.texts[text]);
                    vectors.extend(data.vectors.get(text).into_iter().flatten());
                }
                trainer.executor.write(context, &texts)?;
                if let Some(told) = told {
                    trainer.executor.write(told, &vectors)?;
                }
                trainer.write(&Batch { images, labels: None })
            })
        })
    }

    /// Waits, then writes a checkpoint of the adapters to `folder`: [`ADAPTER_FILE`], which diffusers'
    /// `load_lora_weights` opens, what it takes to go on in `training/`, and files of the caller's.
    ///
    /// # Errors
    /// If a file cannot be written, or the device is lost.
    pub fn save_adapters(
        &mut self,
        folder: &Path,
        notes: Json,
        beside: &[(&str, &[u8])],
    ) -> Result<(), Error> {
        let state = self.state()?;
        let scale = self.model.adapters().map_or(1.0, |of| of.scale);
        let path = folder.join(ADAPTER_FILE);
        let adapters = adapter_bytes(&path, Adapted::Unet, &state.parts[3], scale)?;
        let averages = self.averages(folder)?;
        let averages = averages.iter().map(|bytes| (AVERAGES, &bytes[..]));
        let own = [(ADAPTER_FILE, &adapters[..])].into_iter();
        let files: Vec<_> = own.chain(averages).chain(beside.iter().copied()).collect();
        self.checkpoint(folder, &state, notes, &files)
    }

    /// Continues the run that [`Trainer::save_adapters`] wrote, with its options, of the same model.
    ///
    /// # Errors
    /// If a file is missing or damaged, or is of other adapters; the error names it.
    pub fn resume_adapters(
        gpu: &Gpu,
        folder: &RunFolder,
        (unet, weights): (TextUNet, &dyn ParameterSource),
        scheduler: SchedulerConfig,
        notes: Json,
    ) -> Result<(Self, Resumed), Error> {
        let before = settings(folder)?;
        let mut trainer = Self::new(gpu, unet, scheduler, before.size, before.options.clone())?;
        trainer.load_frozen(weights)?;
        let resumed = trainer.go_on(folder, before, notes)?;
        Ok((trainer, resumed))
    }
}
