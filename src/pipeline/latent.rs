//! Latent diffusion: a U-Net that reads a text, an autoencoder, and their noise schedule, in a folder of diffusers or a
//! single file of Stable Diffusion.
use super::{
    foreign::settings,
    latent_model::{CLASSES, LatentModel, PARTS, SCHEDULER, stable_diffusion},
    open::Opening,
    places,
};
use crate::{
    diffusion::schedule::SchedulerConfig,
    error::{Error, FileError},
    files::{MODEL_INDEX, write_file},
    models::{autoencoder_kl::Autoencoder, unet2d_condition::TextUNet},
    nn::{ParameterSource, ParameterSpec},
    weights::{self, FileWeights, Names, NonFinite, Precision, TensorFile},
};
use serde_json::{Value as Json, json};
use std::{path::Path, sync::Arc};

/// A text-to-picture model but for its text encoder.
///
/// ```no_run
/// use ddim::{pipeline::{LatentPipeline, Opening}, weights::Precision};
///
/// let model = LatentPipeline::open("model.safetensors".as_ref(), &Opening::default())?;
/// println!("{} latent channels", model.vae.config().latent_channels);
/// model.write("half".as_ref(), Precision::F16)?;
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LatentPipeline {
    /// The U-Net.
    pub unet: TextUNet,
    /// Its weights.
    pub unet_weights: Arc<dyn ParameterSource>,
    /// The autoencoder.
    pub vae: Autoencoder,
    /// Its weights.
    pub vae_weights: Arc<dyn ParameterSource>,
    /// The noise schedule.
    pub scheduler: SchedulerConfig,
}

impl LatentPipeline {
    /// Opens a folder that diffusers' `StableDiffusionPipeline` or `StableDiffusionXLPipeline` opens, or a single file
    /// of Stable Diffusion 1.x or 2.x. The yml of such a file is [`Opening::flags`]; without it heads, the size of
    /// the pictures, schedule and scaling factor are those of the released files.
    ///
    /// # Errors
    /// If a file is missing, damaged, does not fit the others, or holds weights that are not finite; the
    /// error names it.
    pub fn open(path: &Path, how: &Opening) -> Result<Self, Error> {
        let given = how.flags.as_deref().map(settings::read).transpose()?;
        match path.is_dir() {
            true => Self::of_folder(path, how),
            false => Self::of_file(path, given.as_ref(), how.non_finite),
        }
    }

    fn of_folder(path: &Path, how: &Opening) -> Result<Self, Error> {
        let LatentModel { unet, vae, scheduler } = LatentModel::of_folder(path)?;
        let read = |part: &str, expected: &[_]| -> Result<Arc<dyn ParameterSource>, Error> {
            let usual = path.join(part).join(places::FILE);
            let file = places::weights_at(&usual, how.variant.as_deref())?;
            Ok(Arc::new(FileWeights::open(&file, expected, how.non_finite)?))
        };
        let unet_weights = read("unet", &unet.parameters()?)?;
        let vae_weights = read("vae", &vae.parameters()?)?;
        Ok(Self { unet, unet_weights, vae, vae_weights, scheduler })
    }

    /// Of a single file, whose yml may be given.
    pub(crate) fn of_file(
        path: &Path,
        given: Option<&Json>,
        non_finite: NonFinite,
    ) -> Result<Self, Error> {
        let file: Arc<dyn TensorFile> = weights::open(path)?.into();
        let (found, place) = stable_diffusion(path, &*file, given)?;
        let LatentModel { unet, vae, scheduler } = LatentModel::of_file(path, &found)?;
        let read = |(below, names): (&str, Names), expected: &[ParameterSpec]| {
            let prefix = format!("{place}{below}");
            FileWeights::of(path, Arc::clone(&file), &prefix, expected, &names, non_finite)
        };
        let unet_weights = Arc::new(read(found.unet_names(), &unet.parameters()?)?);
        let vae_weights = Arc::new(read(found.vae_names(), &vae.parameters()?)?);
        Ok(Self { unet, unet_weights, vae, vae_weights, scheduler })
    }

    /// Writes the folder that diffusers' `StableDiffusionPipeline` opens once a text encoder is put beside.
    ///
    /// # Errors
    /// If a file cannot be written, or a weight does not fit the precision.
    pub fn write(&self, folder: &Path, precision: Precision) -> Result<(), Error> {
        let mut index = json!({
            "_class_name": CLASSES[0],
            "_diffusers_version": self.scheduler.diffusers_version,
            "scheduler": ["diffusers", self.scheduler.class_name],
        });
        for (part, class) in PARTS {
            index[part] = json!(["diffusers", class]);
        }
        for part in ["feature_extractor", "safety_checker", "text_encoder", "tokenizer"] {
            index[part] = json!([null, null]);
        }
        let weights = |part: &str, weights: &dyn ParameterSource| -> Result<Vec<u8>, Error> {
            let path = folder.join(part).join(places::FILE);
            Ok(weights::to_bytes(&path, &weights.load()?, precision)?)
        };
        let unet = weights("unet", &*self.unet_weights)?;
        let vae = weights("vae", &*self.vae_weights)?;
        for (name, bytes) in [
            (format!("unet/{}", places::FILE), unet),
            ("unet/config.json".into(), self.unet.config().to_json().into()),
            (format!("vae/{}", places::FILE), vae),
            ("vae/config.json".into(), self.vae.config().to_json().into()),
            (SCHEDULER.into(), self.scheduler.to_json().into()),
            (MODEL_INDEX.into(), format!("{index:#}\n").into()),
        ] {
            let path = folder.join(name);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).map_err(FileError::at(parent))?;
            }
            write_file(&path, &bytes).map_err(FileError::at(&path))?;
        }
        Ok(())
    }
}
