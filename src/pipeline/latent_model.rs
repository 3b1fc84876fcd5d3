//! What a latent pipeline is: its networks and noise schedule, without weights.
use super::{
    foreign::{Dialect, StableDiffusion, settings},
    open::Opening,
};
use crate::{
    diffusion::schedule::{Process, SchedulerConfig},
    error::{ConfigError, Error, FileError, TrainingError},
    files::{MODEL_INDEX, parse_object, read_json},
    models::{
        autoencoder_kl::{Autoencoder, AutoencoderConfig},
        unet2d_condition::{TextUNet, TextUNetConfig},
    },
    weights::{self, TensorFile},
};
use serde_json::{Map, Value as Json, json};
use std::path::Path;

/// diffusers' pipelines of these parts.
pub(super) const CLASSES: [&str; 4] = [
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionInpaintPipelineLegacy",
    XL,
];
const XL: &str = "StableDiffusionXLPipeline";

/// The parts, and their classes in diffusers.
pub(super) const PARTS: [(&str, &str); 2] =
    [("unet", "UNet2DConditionModel"), ("vae", "AutoencoderKL")];

pub(super) const SCHEDULER: &str = "scheduler/scheduler_config.json";

/// The networks of a text-to-picture model but for its text encoders, and its noise schedule.
///
/// ```no_run
/// use ddim::pipeline::{LatentModel, Opening};
///
/// let path = "model".as_ref();
/// if LatentModel::is_at(path) {
///     let model = LatentModel::read(path, &Opening::default())?;
///     println!("{} latent channels", model.vae.config().latent_channels);
/// }
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LatentModel {
    /// The U-Net.
    pub unet: TextUNet,
    /// The autoencoder.
    pub vae: Autoencoder,
    /// The noise schedule.
    pub scheduler: SchedulerConfig,
}

impl LatentModel {
    /// Reads the configurations of a folder that diffusers' `StableDiffusionPipeline` or `StableDiffusionXLPipeline`
    /// opens, or tells those of a single file of Stable Diffusion; weights are not looked at.
    ///
    /// # Errors
    /// If a file is missing, damaged or does not fit the others; the error names it.
    pub fn read(path: &Path, how: &Opening) -> Result<Self, Error> {
        if path.is_dir() {
            return Self::of_folder(path);
        }
        let given = how.flags.as_deref().map(settings::read).transpose()?;
        let file = weights::open(path)?;
        let (found, _) = stable_diffusion(path, &*file, given.as_ref())?;
        Self::of_file(path, &found)
    }

    /// Whether a path leads to one: a folder by the class in its index, a file by the names of its tensors.
    pub fn is_at(path: &Path) -> bool {
        if path.is_dir() {
            return class(&path.join(MODEL_INDEX)).is_ok_and(|(of, _)| CLASSES.contains(&&of[..]));
        }
        let file = if path.is_file() { weights::open(path).ok() } else { None };
        let dialect = file.and_then(|file| Dialect::of_file(path, &*file).ok());
        dialect.is_some_and(|(dialect, _)| dialect == Dialect::StableDiffusion)
    }

    pub(super) fn of_folder(path: &Path) -> Result<Self, Error> {
        let index = path.join(MODEL_INDEX);
        let (pipeline, parts) = class(&index)?;
        if !CLASSES.contains(&&pipeline[..]) {
            let expected = format!("a pipeline of latents ({})", CLASSES.join(", "));
            return Err(TrainingError::pipeline(&index, "_class_name", expected, pipeline).into());
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
        let file = path.join(SCHEDULER);
        let mut scheduler = SchedulerConfig::read(&file)?;
        let of_betas = pipeline != XL && scheduler.process() == Process::Betas;
        if of_betas && (scheduler.clip_sample || scheduler.steps_offset != 1) {
            log::warn!(
                "{}: clip_sample is taken as false and steps_offset as 1, as {pipeline} does",
                file.display()
            );
            (scheduler.clip_sample, scheduler.steps_offset) = (false, 1);
        }
        Self { unet, vae, scheduler }.checked(&config("unet"))
    }

    /// Of what a single file tells.
    pub(super) fn of_file(path: &Path, found: &StableDiffusion) -> Result<Self, Error> {
        let Some(vae) = found.vae_json() else {
            let what = format!("{} without its autoencoder", found.version());
            return Err(ConfigError::NotRun { path: path.into(), what }.into());
        };
        let unet = TextUNet::new(TextUNetConfig::parse(&found.unet_json().to_string())?)?;
        let vae = Autoencoder::new(AutoencoderConfig::parse(&vae.to_string())?)?;
        Self { unet, vae, scheduler: found.scheduler() }.checked(path)
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
}

/// What a file of Stable Diffusion tells, and what the names of its tensors begin with.
pub(super) fn stable_diffusion(
    path: &Path,
    file: &dyn TensorFile,
    given: Option<&Json>,
) -> Result<(StableDiffusion, &'static str), Error> {
    let (dialect, place) = Dialect::of_file(path, file)?;
    if dialect != Dialect::StableDiffusion {
        let what = format!("a file of {dialect}: its images are no latents");
        return Err(ConfigError::NotRun { path: path.into(), what }.into());
    }
    let found = StableDiffusion::of(file, place, given)?;
    found.check(path, file, place)?;
    Ok((found, place))
}

/// The class in an index, and its parts.
pub(super) fn class(path: &Path) -> Result<(String, Map<String, Json>), Error> {
    let text = read_json(path).map_err(FileError::at(path))?;
    let parts: Map<String, Json> = parse_object(&text)
        .map_err(|error| TrainingError::pipeline(path, &error.key, "JSON", &error.message))?;
    let class = parts.get("_class_name").and_then(Json::as_str).unwrap_or_default().to_owned();
    Ok((class, parts))
}
