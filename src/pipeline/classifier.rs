//! Classifiers of noisy images in files: those that are trained here, and guided-diffusion's.
use super::{RunFolder, SCHEDULER, class_names, foreign::settings};
use crate::{
    diffusion::schedule::SchedulerConfig,
    error::{ConfigError, Error, TrainingError},
    models::classifier_unet::{ClassifierConfig, ClassifierUNet},
    nn::{ParameterSource, Weights},
    weights::{self, Adm, FileWeights, Heads, Names, NonFinite, Precision, TensorFile},
};
use std::{path::Path, sync::Arc};

/// The files of a classifier that is trained here, by their paths below its folder.
pub(crate) const CLASSIFIER: &str = "config.json";
const WEIGHTS: &str = "classifier.safetensors";

/// A classifier of noisy images with its weights.
///
/// ```no_run
/// use ddim::pipeline::NoisyClassifier;
///
/// // A file of guided-diffusion, and one with the flags of its command line.
/// let (weights, flags) = ("64x64_classifier.pt".as_ref(), "flags".as_ref());
/// let classifier = NoisyClassifier::read(weights, Some(flags))?;
/// println!("{} classes", classifier.network.config().num_classes);
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct NoisyClassifier {
    /// The network.
    pub network: ClassifierUNet,
    /// Its weights.
    pub weights: Arc<dyn ParameterSource>,
    /// The noise that it was trained on, if it was trained here.
    pub scheduler: Option<SchedulerConfig>,
    /// The names of the classes by label, if it was trained here on folders of classes; else none.
    pub class_names: Vec<String>,
}

impl NoisyClassifier {
    /// Reads the folder that
    /// [`Trainer::save_classifier`](crate::training::Trainer::save_classifier) wrote, or a file of
    /// guided-diffusion, whose flags lie beside it in a `config.json` or in the file `flags`, as JSON or
    /// as a command line.
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
            let config = flags.map_or_else(|| ClassifierConfig::read(&beside), given)?;
            let network = ClassifierUNet::new(config)?;
            let weights = Arc::new(read_classifier(&network, path)?);
            return Ok(Self { network, weights, scheduler: None, class_names: Vec::new() });
        }
        let folder = RunFolder::open(path)?;
        let (config, file) = (folder.path(CLASSIFIER), folder.path(WEIGHTS));
        if !file.exists() {
            let expected = format!("a classifier: {CLASSIFIER} and {WEIGHTS}");
            return Err(TrainingError::pipeline(path, "folder", expected, "no such files").into());
        }
        let config = flags.map_or_else(|| ClassifierConfig::read(&config), given)?;
        let network = ClassifierUNet::new(config)?;
        let weights = Arc::new(read_classifier(&network, &file)?);
        let scheduler = folder.path(SCHEDULER);
        let scheduler =
            if scheduler.exists() { Some(SchedulerConfig::read(&scheduler)?) } else { None };
        Ok(Self { network, weights, scheduler, class_names: class_names(&folder)? })
    }
}

/// The flags in a file: a `config.json`, or a command line of guided-diffusion.
fn given(path: &Path) -> Result<ClassifierConfig, ConfigError> {
    let mut flags = settings::read(path)?;
    for list in ["classifier_attention_resolutions", "channel_mult"] {
        // A list of one number looks like a number.
        if let Some(value) = flags.get_mut(list).filter(|value| value.is_number()) {
            *value = value.to_string().into();
        }
    }
    ClassifierConfig::parse(&flags.to_string()).map_err(ConfigError::at(path))
}

/// The weights of a classifier in a file, by guided-diffusion's names or this crate's.
///
/// ```no_run
/// use ddim::models::classifier_unet::{ClassifierConfig, ClassifierUNet};
/// use ddim::pipeline::read_classifier;
///
/// let network = ClassifierUNet::new(ClassifierConfig::read("config.json".as_ref())?)?;
/// println!("{:?}", read_classifier(&network, "classifier.safetensors".as_ref())?);
/// # Ok::<(), ddim::Error>(())
/// ```
///
/// # Errors
/// As [`FileWeights::open`].
pub fn read_classifier(network: &ClassifierUNet, path: &Path) -> Result<FileWeights, Error> {
    let file: Arc<dyn TensorFile> = weights::open(path)?.into();
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
    Ok(FileWeights::of(path, file, "", &expected, &names, NonFinite::Refuse)?)
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
