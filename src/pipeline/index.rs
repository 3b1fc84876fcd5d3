//! `model_index.json`: whether this crate runs a pipeline.
use super::{
    generations::RunFolder,
    places::{self, SCHEDULER, UNET},
};
use crate::{
    diffusion::schedule::{SchedulerConfig, Variance},
    error::{Error, FileError, TrainingError, Unexpected},
    files::{parse_object, read_json},
    models::unet2d::{UNet, UNetConfig},
    nn::Model,
};
use serde::Deserialize;
use serde_json::{Map, Value as Json};
use std::path::Path;

/// diffusers' pipelines of a U-Net and a scheduler alone, whose images are the U-Net's own.
const CLASSES: [&str; 4] = ["DDPMPipeline", "DDIMPipeline", "PNDMPipeline", "RePaintPipeline"];

/// The class of U-Net that this crate runs.
const UNET_CLASS: &str = "UNet2DModel";

/// Bytes of an index: diffusers' have some hundred.
const LARGEST_INDEX: usize = 1 << 16;

#[derive(Deserialize)]
struct Index {
    #[serde(rename = "_class_name")]
    class: String,
    #[serde(flatten)]
    rest: Map<String, Json>,
}

/// Reads the model of a pipeline folder and checks that its parts go together.
///
/// # Errors
/// If a file is missing or damaged, if the pipeline has a part that this crate does not run (an
/// autoencoder, a text encoder, another U-Net or process), or if the U-Net's channels are not those
/// that the scheduler's variance takes; the error names file, key, what it may be and what it is.
///
/// Example: [`crate::pipeline::write()`].
pub fn read_model(folder: &Path) -> Result<(UNet, SchedulerConfig), Error> {
    let folder = RunFolder::open(folder)?;
    let path = places::index(&folder)?;
    let text = read_json(&path).map_err(FileError::at(&path))?;
    check_index(&path, &text)?;
    let config = places::part(&folder, UNET);
    let unet = UNet::new(UNetConfig::read(&config)?)?;
    let scheduler = places::part(&folder, SCHEDULER);
    if !scheduler.exists() {
        let expected = "the file of that name beside the model: the noise that it was trained with";
        let key = "scheduler_config.json";
        return Err(TrainingError::pipeline(&scheduler, key, expected, "none").into());
    }
    let scheduler = SchedulerConfig::read(&scheduler)?;
    if let Err(what) = channels(&unet, &scheduler) {
        return Err(TrainingError::Pipeline { path: config, what }.into());
    }
    Ok((unet, scheduler))
}

/// Checks the text of a `model_index.json`; `path` is for the error alone.
///
/// ```
/// use ddim::pipeline::check_index;
///
/// let (path, index) = ("model_index.json".as_ref(), r#"{
///     "_class_name": "DDPMPipeline",
///     "scheduler": ["diffusers", "DDPMScheduler"],
///     "unet": ["diffusers", "UNet2DModel"]
/// }"#);
/// check_index(path, index)?;
/// assert!(check_index(path, &index.replace("DDPM", "StableDiffusion")).is_err());
/// # Ok::<(), ddim::Error>(())
/// ```
///
/// # Errors
/// As [`read_model`].
pub fn check_index(path: &Path, text: &str) -> Result<(), TrainingError> {
    if text.len() > LARGEST_INDEX {
        let expected = format!("at most {LARGEST_INDEX} bytes");
        return Err(TrainingError::pipeline(path, "size", expected, text.len()));
    }
    let index: Index = parse_object(text)
        .map_err(|error| TrainingError::pipeline(path, &error.key, "JSON", &error.message))?;
    if !CLASSES.contains(&index.class.as_str()) {
        let expected = format!("a pipeline of a U-Net's own images ({})", CLASSES.join(", "));
        return Err(TrainingError::pipeline(path, "_class_name", expected, index.class));
    }
    for part in ["unet", "scheduler"] {
        if !index.rest.contains_key(part) {
            return Err(TrainingError::pipeline(path, part, "the part of that name", "none"));
        }
    }
    for (part, found) in &index.rest {
        // Settings of the pipeline are no lists; `[null, null]` is a part that is left out.
        let Json::Array(names) = found else {
            if part == "unet" || part == "scheduler" {
                return Err(TrainingError::pipeline(path, part, "library and class", found));
            }
            continue;
        };
        let of_diffusers = match &names[..] {
            [Json::String(library), Json::String(class)] if library == "diffusers" => Some(class),
            _ => None,
        };
        let expected = match (part.as_str(), of_diffusers) {
            ("unet", Some(class)) if class == UNET_CLASS => continue,
            ("unet", _) => format!("[\"diffusers\",\"{UNET_CLASS}\"]"),
            ("scheduler", Some(class)) => match SchedulerConfig::check_class(class) {
                Ok(()) => continue,
                Err(error) => format!("a known scheduler ({error})"),
            },
            ("scheduler", None) => "a scheduler of diffusers".into(),
            _ if names.iter().all(Json::is_null) => continue,
            _ => "no such part: it would process the U-Net's images further".into(),
        };
        return Err(TrainingError::pipeline(path, part, expected, found));
    }
    Ok(())
}

/// The network's output is an image, and a second one where the scheduler learns its variance.
pub(crate) fn channels(model: &dyn Model, scheduler: &SchedulerConfig) -> Result<(), Unexpected> {
    let learned = scheduler.variance_type == Variance::LearnedRange;
    let (input, output) = (model.channels(), model.out_channels());
    let (expected, times) = if learned { (2 * input, "twice") } else { (input, "as many as") };
    if input > output && output != expected {
        let expected = format!(
            "{output}, as out_channels: more are a second picture or a mask beside the noisy one \
             (super-resolution, inpainting), which this crate gives no model"
        );
        return Err(Unexpected::new("in_channels", expected, input));
    }
    let expected_text = format!("{expected}, {times} in_channels by variance_type");
    Unexpected::check(output == expected, "out_channels", expected_text, output)
}
