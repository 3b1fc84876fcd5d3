//! The one way to open a model: a folder or a file, of this crate or another project.
use super::{
    Pipeline, RunFolder,
    foreign::{Dialect, Setup, StableDiffusion, settings},
    index::read_model,
    places,
};
use crate::{
    diffusion::schedule::SchedulerConfig,
    error::{ConfigError, Error, TrainingError},
    files::MODEL_INDEX,
    models::unet2d::{UNet, UNetConfig},
    weights::{self, Below, FileWeights, Names, NonFinite, TensorFile},
};
use serde_json::Value as Json;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// What is said of a model beside its path.
///
/// Example: [`crate::pipeline`].
#[derive(Clone, Debug, Default)]
pub struct Opening {
    /// A file of settings, for a file of weights that does not hold its configuration: flags of a
    /// command line, a yml, or a `config.json`.
    pub flags: Option<PathBuf>,
    /// The variant of a folder's weights, such as `fp16`.
    pub variant: Option<String>,
    /// What to do with weights that are not finite.
    pub non_finite: NonFinite,
}

/// Opens a model: a folder of [`Trainer::save`](crate::training::Trainer::save) or diffusers, with
/// subfolders or, as in 2022, without; or a file of DDIM's release, of improved-diffusion or
/// guided-diffusion, whose settings lie beside it ([`Opening::flags`]).
///
/// Of a folder's weights safetensors come before `.bin`, and those without a variant first. Their file is
/// looked through once and stays open; its numbers are read when they are written to a device.
///
/// # Errors
/// If a file is missing, damaged, does not fit the others, or holds weights that are not finite; the
/// error names it. If a file does not hold its configuration, the error says what is missing.
///
/// Example: [`crate::pipeline`].
pub fn open(path: &Path) -> Result<Pipeline, Error> {
    open_with(path, &Opening::default())
}

/// As [`open`], with what is said beside the path.
///
/// # Errors
/// As [`open`].
///
/// Example: [`crate::pipeline`].
pub fn open_with(path: &Path, how: &Opening) -> Result<Pipeline, Error> {
    let flags = how.flags.as_deref().map(settings::read).transpose()?;
    if flags.is_none() && !path.is_file() {
        let (unet, scheduler) = read_model(path)?;
        let folder = RunFolder::open(path)?;
        let file = places::weights(&folder, how.variant.as_deref())?;
        let weights = FileWeights::open(&file, &unet.parameters()?, how.non_finite)?;
        return Pipeline::of_folder(&folder, unet, scheduler, Arc::new(weights));
    }
    let network = Network::open(path, flags.as_ref(), how.variant.as_deref())?;
    let weights = Arc::new(network.weights(how.non_finite)?);
    let Some(scheduler) = network.scheduler else {
        let expected =
            "the pipeline's folder, whose scheduler says the noise that it was trained with";
        return Err(TrainingError::pipeline(path, "path", expected, "weights alone").into());
    };
    let unet = network.unet;
    Ok(Pipeline { unet, scheduler, weights, null_label: None, class_names: Vec::new() })
}

/// A U-Net with its file of weights, of which no number was read.
pub(crate) struct Network {
    pub unet: UNet,
    pub scheduler: Option<SchedulerConfig>,
    path: PathBuf,
    file: Arc<dyn TensorFile>,
    place: &'static str,
    names: Names,
}

impl Network {
    /// Opens a pipeline, a model's own folder, or a file; `given` are the settings beside it.
    pub fn open(path: &Path, given: Option<&Json>, variant: Option<&str>) -> Result<Self, Error> {
        if !path.is_dir() {
            return Self::of_file(path, given);
        }
        let folder = RunFolder::open(path)?;
        let (unet, scheduler) = match given {
            Some(settings) => (UNet::new(UNetConfig::parse(&settings.to_string())?)?, None),
            None => Self::of_folder(&folder, path)?,
        };
        let path = places::weights(&folder, variant)?;
        let file = weights::open(&path)?.into();
        Ok(Self { unet, scheduler, path, file, place: "", names: Names::Diffusers })
    }

    fn of_folder(
        folder: &RunFolder,
        path: &Path,
    ) -> Result<(UNet, Option<SchedulerConfig>), Error> {
        let config = folder.path("config.json");
        if folder.path(MODEL_INDEX).exists() || !config.exists() {
            let (unet, scheduler) = read_model(path)?;
            return Ok((unet, Some(scheduler)));
        }
        Ok((UNet::new(UNetConfig::read(&config)?)?, None))
    }

    fn of_file(path: &Path, given: Option<&Json>) -> Result<Self, Error> {
        let file: Arc<dyn TensorFile> = weights::open(path)?.into();
        let (dialect, place) = Dialect::of_file(path, &*file)?;
        if dialect == Dialect::StableDiffusion {
            let found = StableDiffusion::of(&*file, place, given)?;
            found.check(path, &*file, place)?;
            let what = format!(
                "{}: its images are latents and it reads a text, so it is no pipeline of images; \
                 ddim inspect tells its configuration, ddim convert writes it as a folder",
                found.version()
            );
            return Err(ConfigError::NotRun { path: path.into(), what }.into());
        }
        let shapes = Below { file: &*file, prefix: place }.tensors().into_iter().collect();
        let beside = path.with_file_name("config.json");
        let of_config = dialect == Dialect::Diffusers && given.is_none() && beside.exists();
        let (unet, scheduler, names) = if of_config {
            (UNetConfig::read(&beside)?, None, Names::Diffusers)
        } else {
            let Setup { unet, scheduler, names } = dialect.setup(path, given, &shapes)?;
            (unet, Some(scheduler), names)
        };
        let unet = UNet::new(unet)?;
        Ok(Self { unet, scheduler, path: path.into(), file, place, names })
    }

    /// The weights, none of which is kept.
    pub fn weights(&self, non_finite: NonFinite) -> Result<FileWeights, Error> {
        let (file, expected) = (Arc::clone(&self.file), self.unet.parameters()?);
        let Self { path, place, names, .. } = self;
        Ok(FileWeights::of(path, file, place, &expected, names, non_finite)?)
    }
}

impl Dialect {
    /// The dialect of a file, and what the names of its weights begin with.
    pub(crate) fn of_file(
        path: &Path,
        file: &dyn TensorFile,
    ) -> Result<(Self, &'static str), ConfigError> {
        const NAMED: usize = 3;
        let shapes = file.tensors().into_iter().collect();
        Self::of(&shapes).ok_or_else(|| {
            let names: Vec<&str> = shapes.keys().take(NAMED).map(String::as_str).collect();
            let what = format!(
                "a {} file of {} tensors ({}, ...), whose names are of no model that is known: \
                 diffusers' UNet2DModel, the DDIM release, improved-diffusion, guided-diffusion, \
                 Stable Diffusion",
                file.format(),
                shapes.len(),
                names.join(", "),
            );
            ConfigError::NotRun { path: path.into(), what }
        })
    }
}
