//! Latent diffusion: a U-Net that reads a text, an autoencoder, and their noise schedule, in a folder of diffusers or a
//! single file of Stable Diffusion.
use super::{
    foreign::{Dialect, StableDiffusion, settings},
    open::Opening,
    places,
};
use crate::{
    diffusion::schedule::SchedulerConfig,
    error::{ConfigError, Error, FileError, TrainingError},
    files::{MODEL_INDEX, parse_object, read_json},
    models::{
        autoencoder_kl::{Autoencoder, AutoencoderConfig},
        unet2d_condition::{TextUNet, TextUNetConfig},
    },
    nn::{AdaptedWeights, ParameterSource, ParameterSpec},
    weights::{
        self, Adapted, FileWeights, Loras, Names, NonFinite, Precision, TensorFile, write_file,
    },
};
use serde_json::{Map, Value as Json, json};
use std::{path::Path, sync::Arc};

/// diffusers' pipelines of these parts.
const CLASSES: [&str; 4] = [
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionInpaintPipelineLegacy",
    "StableDiffusionXLPipeline",
];

/// The parts, and their classes in diffusers.
const PARTS: [(&str, &str); 2] = [("unet", "UNet2DConditionModel"), ("vae", "AutoencoderKL")];

const SCHEDULER: &str = "scheduler/scheduler_config.json";

/// A text-to-picture model but for its text encoder.
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

    /// Whether a path is a single file of one, by the names of its tensors.
    pub(super) fn is_file(path: &Path) -> bool {
        let file = if path.is_file() { weights::open(path).ok() } else { None };
        let dialect = file.and_then(|file| Dialect::of_file(path, &*file).ok());
        dialect.is_some_and(|(dialect, _)| dialect == Dialect::StableDiffusion)
    }

    fn of_folder(path: &Path, how: &Opening) -> Result<Self, Error> {
        let index = path.join(MODEL_INDEX);
        let (class, parts) = class(&index)?;
        if !CLASSES.contains(&&class[..]) {
            let expected = format!("a pipeline of latents ({})", CLASSES.join(", "));
            return Err(TrainingError::pipeline(&index, "_class_name", expected, class).into());
        }
        for (part, class) in PARTS {
            let expected = json!(["diffusers", class]);
            let found = parts.get(part).unwrap_or(&Json::Null);
            if *found != expected {
                return Err(TrainingError::pipeline(&index, part, expected, found).into());
            }
        }
        let config = |part: &str| path.join(part).join("config.json");
        let unet = TextUNet::new(TextUNetConfig::read(&config("unet"))?)?;
        let vae = Autoencoder::new(AutoencoderConfig::read(&config("vae"))?)?;
        let read = |part: &str, expected: &[_]| -> Result<Arc<dyn ParameterSource>, Error> {
            let usual = path.join(part).join(places::FILE);
            let file = places::weights_at(&usual, how.variant.as_deref())?;
            Ok(Arc::new(FileWeights::open(&file, expected, how.non_finite)?))
        };
        let unet_weights = read("unet", &unet.parameters()?)?;
        let vae_weights = read("vae", &vae.parameters()?)?;
        let scheduler = SchedulerConfig::read(&path.join(SCHEDULER))?;
        Self { unet, unet_weights, vae, vae_weights, scheduler }.checked(&config("unet"))
    }

    /// Of a single file, whose yml may be given.
    pub(crate) fn of_file(
        path: &Path,
        given: Option<&Json>,
        non_finite: NonFinite,
    ) -> Result<Self, Error> {
        let file: Arc<dyn TensorFile> = weights::open(path)?.into();
        let (dialect, place) = Dialect::of_file(path, &*file)?;
        if dialect != Dialect::StableDiffusion {
            let what = format!("a file of {dialect}: its images are no latents");
            return Err(ConfigError::NotRun { path: path.into(), what }.into());
        }
        let found = StableDiffusion::of(&*file, place, given)?;
        found.check(path, &*file, place)?;
        let Some(vae) = found.vae_json() else {
            let what = format!("{} without its autoencoder", found.version());
            return Err(ConfigError::NotRun { path: path.into(), what }.into());
        };
        let unet = TextUNet::new(TextUNetConfig::parse(&found.unet_json().to_string())?)?;
        let vae = Autoencoder::new(AutoencoderConfig::parse(&vae.to_string())?)?;
        let read = |(below, names): (&str, Names), expected: &[ParameterSpec]| {
            let prefix = format!("{place}{below}");
            FileWeights::of(path, Arc::clone(&file), &prefix, expected, &names, non_finite)
        };
        let unet_weights = Arc::new(read(found.unet_names(), &unet.parameters()?)?);
        let vae_weights = Arc::new(read(found.vae_names(), &vae.parameters()?)?);
        let scheduler = found.scheduler();
        Self { unet, unet_weights, vae, vae_weights, scheduler }.checked(path)
    }

    /// The same with adapters beside the U-Net's layers. Their strengths may change without the model being read again:
    /// [`Sampler::set_adapters`](crate::diffusion::Sampler::set_adapters) of [`Loras::weights`].
    #[must_use]
    pub fn with_loras(self, loras: &Loras) -> Self {
        let (of, base) = (Adapted::Unet, self.unet_weights);
        let unet_weights = Arc::new(AdaptedWeights { base, adapters: loras.weights(of) });
        Self { unet: self.unet.with_adapters(loras.adapters(of)), unet_weights, ..self }
    }

    /// The U-Net works on what the autoencoder makes.
    fn checked(self, path: &Path) -> Result<Self, Error> {
        let (unet, latent) = (self.unet.config(), self.vae.config().latent_channels);
        for (key, found) in [("in_channels", unet.in_channels), ("out_channels", unet.out_channels)]
        {
            if found != latent {
                let expected = format!(
                    "{latent}, the autoencoder's latent_channels (a mask or a picture beside them is not run)"
                );
                return Err(TrainingError::pipeline(path, key, expected, found).into());
            }
        }
        Ok(self)
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

/// The class in an index, and its parts.
fn class(path: &Path) -> Result<(String, Map<String, Json>), Error> {
    let text = read_json(path).map_err(FileError::at(path))?;
    let parts: Map<String, Json> = parse_object(&text)
        .map_err(|error| TrainingError::pipeline(path, &error.key, "JSON", &error.message))?;
    let class = parts.get("_class_name").and_then(Json::as_str).unwrap_or_default().to_owned();
    Ok((class, parts))
}
