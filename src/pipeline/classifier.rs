//! Classifiers of noisy images in files: those that are trained here, and guided-diffusion's.
use super::{RunFolder, SCHEDULER, class_names};
use crate::{
    diffusion::schedule::SchedulerConfig,
    error::{Error, TrainingError},
    models::classifier_unet::{ClassifierConfig, ClassifierUNet},
    nn::Weights,
    weights::{self, Adm, Heads, Names, NonFinite, Precision},
};
use std::path::Path;

/// The files of a classifier that is trained here, by their paths below its folder.
pub(crate) const CLASSIFIER: &str = "config.json";
const WEIGHTS: &str = "classifier.safetensors";

/// A classifier of noisy images with its weights.
#[derive(Clone, Debug)]
pub struct NoisyClassifier {
    /// The network.
    pub network: ClassifierUNet,
    /// Its weights.
    pub weights: Weights,
    /// The noise that it was trained on, if it was trained here.
    pub scheduler: Option<SchedulerConfig>,
    /// The names of the classes by label, if it was trained here on folders of classes; else none.
    pub class_names: Vec<String>,
}

impl NoisyClassifier {
    /// Reads the folder that
    /// [`Trainer::save_classifier`](crate::training::Trainer::save_classifier) wrote, or a file of
    /// guided-diffusion, whose flags lie beside it in a `config.json` or in the file `flags`.
    ///
    /// # Errors
    /// If a file is missing, damaged, or does not fit the others; the error names it.
    pub fn read(path: &Path, flags: Option<&Path>) -> Result<Self, Error> {
        if !path.is_dir() {
            let beside = path.with_file_name(CLASSIFIER);
            if flags.is_none() && !beside.exists() {
                let expected = "config.json with the flags of its command line (image_size, \
                                classifier_width, ...) beside it, or a file of them";
                return Err(TrainingError::pipeline(path, "flags", expected, "neither").into());
            }
            let network = ClassifierUNet::new(ClassifierConfig::read(flags.unwrap_or(&beside))?)?;
            let weights = read_classifier(&network, path)?;
            return Ok(Self { network, weights, scheduler: None, class_names: Vec::new() });
        }
        let folder = RunFolder::open(path)?;
        let (config, file) = (folder.path(CLASSIFIER), folder.path(WEIGHTS));
        if !file.exists() {
            let expected = format!("a classifier: {CLASSIFIER} and {WEIGHTS}");
            return Err(TrainingError::pipeline(path, "folder", expected, "no such files").into());
        }
        let config = ClassifierConfig::read(flags.unwrap_or(&config))?;
        let network = ClassifierUNet::new(config)?;
        let weights = read_classifier(&network, &file)?;
        let scheduler = folder.path(SCHEDULER);
        let scheduler =
            if scheduler.exists() { Some(SchedulerConfig::read(&scheduler)?) } else { None };
        Ok(Self { network, weights, scheduler, class_names: class_names(&folder)? })
    }
}

/// The weights of a classifier in a file, by guided-diffusion's names or this crate's.
///
/// # Errors
/// As [`weights::read`].
pub fn read_classifier(network: &ClassifierUNet, path: &Path) -> Result<Weights, Error> {
    let file = weights::open(path)?;
    let theirs = file.tensors().iter().any(|(name, _)| name.starts_with("input_blocks."));
    let config = network.config();
    let names = match theirs {
        true => Names::Adm(Adm {
            layers: config.classifier_depth,
            attention: Vec::new(),
            interleaved: Some(Heads::Channels(config.num_head_channels)),
        }),
        false => Names::Diffusers,
    };
    let expected = network.parameters()?;
    Ok(weights::read_named(path, &*file, &expected, &names, NonFinite::Refuse)?)
}

/// The files of a classifier by their paths below `folder`.
pub(crate) fn classifier_files(
    folder: &Path,
    config: &ClassifierConfig,
    scheduler: &SchedulerConfig,
    weights: &Weights,
) -> Result<[(&'static str, Vec<u8>); 3], Error> {
    Ok([
        (WEIGHTS, weights::to_bytes(&folder.join(WEIGHTS), weights, Precision::F32)?),
        (CLASSIFIER, config.to_json().into()),
        (SCHEDULER, scheduler.to_json().into()),
    ])
}
