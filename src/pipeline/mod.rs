//! Pipelines: folders of a model, its noise schedule and weights, as diffusers writes them.
//!
//! ```no_run
//! use ddim::pipeline::{self, Opening};
//! use std::path::Path;
//!
//! let model = pipeline::open(Path::new("model"))?;
//! println!("{:?} channels", model.unet.config().block_out_channels);
//! let weights = model.weights.load()?;
//! pipeline::write(Path::new("copy"), model.unet.config(), &model.scheduler, &weights)?;
//!
//! // The weights in f16.
//! let how = Opening { variant: Some("fp16".into()), ..Opening::default() };
//! let half = pipeline::open_with(Path::new("model"), &how)?;
//! assert_eq!(half.unet.parameters()?, model.unet.parameters()?);
//! # Ok::<(), ddim::Error>(())
//! ```
//!
//! A whole program: `examples/guided_digits.rs`.
mod classes;
mod classifier;
mod convert;
mod foreign;
mod generations;
mod index;
mod inspect;
mod latent;
mod latent_model;
mod loras;
mod open;
mod places;
mod prompts;
mod text_encoder;

pub use classes::{CLASS_NAMES, class_names_json, parse_class_names};
pub(crate) use classifier::{CLASSIFIER, classifier_files};
pub use classifier::{NoisyClassifier, read_classifier};
pub use convert::convert;
pub use foreign::Dialect;
pub(crate) use foreign::StableDiffusion;
#[doc(hidden)]
pub use generations::Pointer;
pub use generations::RunFolder;
pub(crate) use generations::{Generation, System};
pub(crate) use index::channels;
pub use index::{check_index, read_model};
pub use inspect::{Inspection, inspect};
pub use latent::LatentPipeline;
pub use latent_model::LatentModel;
pub(crate) use open::Network;
pub use open::{Opening, open, open_with};
use places::WEIGHTS;
pub(crate) use places::{SCHEDULER, UNET};
pub use prompts::{TextEncoder, TextEncoders};
pub use text_encoder::{TextPlace, read_text_encoder};

use crate::{
    data::Dataset,
    diffusion::schedule::SchedulerConfig,
    error::{Error, FileError, TrainingError},
    files::{self, MODEL_INDEX, write_file},
    models::unet2d::{UNet, UNetConfig},
    nn::{Model, ParameterSource, Weights},
    weights::{self, Precision},
};
use serde_json::{Map, Value as Json, json};
use std::{path::Path, sync::Arc};

/// Beside a pipeline that was trained here: how.
pub(crate) const SETTINGS: &str = "training/settings.json";

/// Writes the folder that diffusers' `DDPMPipeline.from_pretrained` opens.
///
/// ```
/// use ddim::{diffusion::schedule::SchedulerConfig, nn::Weights, pipeline};
/// # use ddim::models::unet2d::{DownBlock, UNet, UNetConfig, UpBlock};
/// # let config = UNetConfig {
/// #     block_out_channels: vec![8, 16],
/// #     down_block_types: vec![DownBlock::Plain, DownBlock::Attention],
/// #     up_block_types: vec![UpBlock::Attention, UpBlock::Plain],
/// #     norm_num_groups: 4,
/// #     ..UNetConfig::default()
/// # };
///
/// let folder = tempfile::tempdir()?;
/// let weights = Weights::initial(&UNet::new(config.clone())?.parameters()?, 0);
/// pipeline::write(folder.path(), &config, &SchedulerConfig::default(), &weights)?;
/// let (unet, _) = pipeline::read_model(folder.path())?;
/// assert_eq!(unet.config().block_out_channels, [8, 16]);
/// assert_eq!(pipeline::open(folder.path())?.weights.load()?, weights);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If a file cannot be written; those already written are whole.
pub fn write(
    folder: &Path,
    unet: &UNetConfig,
    scheduler: &SchedulerConfig,
    weights: &Weights,
) -> Result<(), Error> {
    write_as(folder, unet, scheduler, weights, Precision::F32)
}

/// As [`write()`], the weights rounded to a precision.
fn write_as(
    folder: &Path,
    unet: &UNetConfig,
    scheduler: &SchedulerConfig,
    weights: &Weights,
    precision: Precision,
) -> Result<(), Error> {
    for (name, bytes) in files(folder, unet, scheduler, weights, precision)? {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(FileError::at(parent))?;
        }
        write_file(&path, &bytes).map_err(FileError::at(&path))?;
    }
    Ok(())
}

/// The files that [`write()`] writes, by their paths below `folder`, which is for the errors alone.
///
/// # Errors
/// If a number does not fit the precision.
///
/// Example: [`crate::pipeline::write()`].
pub fn files(
    folder: &Path,
    unet: &UNetConfig,
    scheduler: &SchedulerConfig,
    weights: &Weights,
    precision: Precision,
) -> Result<[(&'static str, Vec<u8>); 4], Error> {
    let index = json!({
        "_class_name": "DDPMPipeline",
        "_diffusers_version": unet.diffusers_version,
        "scheduler": ["diffusers", scheduler.class_name],
        "unet": ["diffusers", "UNet2DModel"],
    });
    Ok([
        (WEIGHTS, weights::to_bytes(&folder.join(WEIGHTS), weights, precision)?),
        (UNET, unet.to_json().into()),
        (SCHEDULER, scheduler.to_json().into()),
        (MODEL_INDEX, format!("{index:#}\n").into()),
    ])
}

/// A model with its weights and noise schedule.
///
/// Example: [`crate::pipeline`].
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// The model.
    pub unet: UNet,
    /// Its noise schedule.
    pub scheduler: SchedulerConfig,
    /// Its weights.
    pub weights: Arc<dyn ParameterSource>,
    /// The null label, if the model was trained here with dropped labels.
    pub null_label: Option<u32>,
    /// The names of the classes by label, if the model was trained here on folders of classes; else
    /// none.
    pub class_names: Vec<String>,
}

/// The probability with which the model's labels were dropped. A pipeline of another program has no
/// settings of a run.
fn label_drop(path: &Path) -> Result<f64, Error> {
    if !path.exists() {
        return Ok(0.0);
    }
    let text = files::read_json(path).map_err(FileError::at(path))?;
    let settings: Map<String, Json> = files::parse_object(&text).map_err(|error| {
        TrainingError::Checkpoint { path: path.into(), message: error.to_string() }
    })?;
    Ok(settings.get("options").and_then(|of| of["label_drop"].as_f64()).unwrap_or_default())
}

/// The names of the classes by label, if the checkpoint in a folder has any.
///
/// ```
/// use ddim::pipeline::{self, CLASS_NAMES, RunFolder};
///
/// let (run, names) = (tempfile::tempdir()?, ["cat".to_owned(), "dog".to_owned()]);
/// let text = pipeline::class_names_json(&names);
/// assert_eq!(pipeline::parse_class_names(CLASS_NAMES.as_ref(), &text)?, names);
/// std::fs::create_dir(run.path().join("training"))?;
/// std::fs::write(run.path().join(CLASS_NAMES), text)?;
/// assert_eq!(pipeline::class_names(&RunFolder::open(run.path())?)?, names);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If their file is damaged.
pub fn class_names(folder: &RunFolder) -> Result<Vec<String>, Error> {
    let path = folder.path(CLASS_NAMES);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = files::read_json(&path).map_err(FileError::at(&path))?;
    Ok(parse_class_names(&path, &text)?)
}

impl Pipeline {
    /// The pipeline in a folder, with what a run of this crate left beside it.
    fn of_folder(
        folder: &RunFolder,
        unet: UNet,
        scheduler: SchedulerConfig,
        weights: Arc<dyn ParameterSource>,
    ) -> Result<Self, Error> {
        let dropped = label_drop(&folder.path(SETTINGS))?;
        let null_label = unet.null_label().filter(|_| dropped > 0.0);
        let class_names = class_names(folder)?;
        let opened = Self { unet, scheduler, weights, null_label, class_names };
        let (rows, named) = (opened.classes().unwrap_or_default(), opened.class_names.len());
        if named > rows {
            let path = folder.path(CLASS_NAMES);
            let message = format!("expected names of the model's {rows} classes, found {named}");
            return Err(TrainingError::Checkpoint { path, message }.into());
        }
        Ok(opened)
    }

    /// Number of classes, without the null label.
    pub fn classes(&self) -> Option<usize> {
        let rows = self.unet.classes()?;
        Some(rows - usize::from(self.null_label.is_some()))
    }

    /// The classes of the first `count` images, if the model takes any.
    pub fn labels(&self, data: &Dataset, count: usize) -> Option<Vec<u32>> {
        self.classes()?;
        Some(data.labels()?.iter().take(count).map(|label| u32::from(*label)).collect())
    }

    /// Checks that images are such as the model was made for, and labelled where it has classes.
    ///
    /// # Errors
    /// If they are not; the error names the model's config in `folder`, the key, what it takes and
    /// what the data are.
    pub fn check_data(&self, folder: &Path, data: &Dataset) -> Result<(), Error> {
        let config = self.unet.config();
        let refuse = |key, expected: String, found: String| {
            let path = folder.join("unet/config.json");
            let found = format!("{found} in {}", data.name());
            Err(TrainingError::pipeline(&path, key, expected, found).into())
        };
        let size = (data.height(), data.width());
        if let Some(sides) = config.sample_size.map(|size| size.sides()).filter(|of| *of != size) {
            let [expected, found] =
                [sides, size].map(|(rows, columns)| format!("{rows}x{columns}"));
            return refuse("sample_size", format!("images of {expected}"), found);
        }
        config.check_image(size.0, size.1)?;
        if data.channels() != config.in_channels {
            let expected = format!("images of {} channels", config.in_channels);
            return refuse("in_channels", expected, data.channels().to_string());
        }
        if self.unet.label_type(1).is_none() {
            return Ok(());
        }
        let Some(classes) = self.classes() else {
            let expected = "a table of classes".into();
            return refuse("class_embed_type", expected, "labels alone".into());
        };
        match data.classes() {
            Some(found) if found <= classes => Ok(()),
            found => {
                let found = found.map_or("no labels".into(), |found| format!("{found} classes"));
                refuse("num_class_embeds", format!("labels of {classes} classes"), found)
            }
        }
    }
}
