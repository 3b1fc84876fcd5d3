//! A training run as a folder: a pipeline that diffusers opens, and beside it, in `training/`,
//! what it takes to go on.
use super::{
    TrainingError, TrainingOptions,
    arenas::{arenas_of, parameters_of},
    index::read_model,
    trainer::Trainer,
};
use crate::{
    diffusion::schedule::SchedulerConfig,
    error::Error,
    files,
    gpu::Gpu,
    unet::{ArenaLayout, TrainedUNet, UNet, UNetConfig},
    weights::{Parameters, Storage, read_tensors, write_file, write_tensors},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

/// Prefixes of the tensors in `training/state.safetensors`, in the order of the state.
const PARTS: [&str; 4] = ["weight", "first_moment", "second_moment", "average"];

/// The tensor of the last losses of each timestep, where these are drawn by importance.
const MEMORY: &str = "timestep_losses";

/// Everything recorded of a run beside its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The training options.
    pub options: TrainingOptions,
    /// Image height and width.
    pub size: [usize; 2],
    /// Hash of the training plan: same hash, device, driver and build, same bits.
    pub plan: String,
    /// Adapter and driver.
    pub device: String,
    /// What else the caller wants to keep: data set, command.
    #[serde(default)]
    pub notes: Json,
}

fn file_error(path: &Path, source: std::io::Error) -> Error {
    TrainingError::File { path: path.into(), source }.into()
}

fn read_settings(path: &Path, text: &str) -> Result<Settings, TrainingError> {
    serde_json::from_str(text).map_err(|error| TrainingError::Checkpoint {
        path: path.into(),
        message: error.to_string(),
    })
}

fn create_folder(path: PathBuf) -> Result<PathBuf, Error> {
    std::fs::create_dir_all(&path).map_err(|source| file_error(&path, source))?;
    Ok(path)
}

fn write_text(path: &Path, text: &str) -> Result<(), Error> {
    write_file(path, text.as_bytes()).map_err(|source| file_error(path, source))
}

/// Writes the folder that diffusers' `DDPMPipeline.from_pretrained` opens.
///
/// # Errors
/// If a file cannot be written; those already written are whole.
pub fn write_pipeline(
    folder: &Path,
    unet: &UNetConfig,
    scheduler: &SchedulerConfig,
    weights: &Parameters,
) -> Result<(), Error> {
    let folder = create_folder(folder.into())?;
    let unet_folder = create_folder(folder.join("unet"))?;
    let scheduler_folder = create_folder(folder.join("scheduler"))?;
    weights.write(&unet_folder.join("diffusion_pytorch_model.safetensors"), Storage::F32)?;
    write_text(&unet_folder.join("config.json"), &unet.to_json())?;
    write_text(&scheduler_folder.join("scheduler_config.json"), &scheduler.to_json())?;
    let index = json!({
        "_class_name": "DDPMPipeline",
        "_diffusers_version": unet.diffusers_version,
        "scheduler": ["diffusers", scheduler.class_name],
        "unet": ["diffusers", "UNet2DModel"],
    });
    write_text(&folder.join("model_index.json"), &format!("{index:#}\n"))
}

/// What a pipeline folder holds.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// The model.
    pub unet: UNet,
    /// Its noise schedule.
    pub scheduler: SchedulerConfig,
    /// Where its parameters lie in the arenas.
    pub layout: ArenaLayout,
    /// The parameters.
    pub arenas: Vec<Vec<f32>>,
    /// The label that stands for none, if the model was trained here with dropped labels.
    pub null_label: Option<u32>,
}

impl Pipeline {
    /// The model as samplers take it.
    pub fn network(&self) -> TrainedUNet<'_> {
        TrainedUNet { unet: &self.unet, layout: &self.layout, arenas: &self.arenas }
    }
}

/// Reads a pipeline folder, of [`Trainer::save`] or of diffusers; `max_binding` is the device's
/// largest binding, in bytes.
///
/// # Errors
/// If a file is missing, damaged, or does not fit the others; the error names it.
pub fn read_pipeline(folder: &Path, max_binding: u64) -> Result<Pipeline, Error> {
    let (unet, scheduler) = read_model(folder)?;
    let layout = ArenaLayout::new(unet.parameters()?, max_binding);
    let expected = layout.specs.iter().map(|spec| (spec.name.as_str(), spec.of.shape));
    let path = folder.join("unet/diffusion_pytorch_model.safetensors");
    let weights = Parameters::read(&path, expected)?;
    let arenas = arenas_of(&layout, &weights)?;
    // A pipeline of another program has no settings of a run.
    let path = folder.join("training/settings.json");
    let dropped = match files::read_text(&path) {
        Ok(text) => read_settings(&path, &text)?.options.label_drop,
        Err(_) => 0.0,
    };
    let null_label = unet.null_label().filter(|_| dropped > 0.0);
    Ok(Pipeline { unet, scheduler, layout, arenas, null_label })
}

/// The steps that the model in `folder` was trained, if [`Trainer::save`] wrote it.
///
/// # Errors
/// If the state is there and damaged.
pub fn steps_trained(folder: &Path) -> Result<Option<u64>, Error> {
    let path = folder.join("training/state.safetensors");
    if !path.exists() {
        return Ok(None);
    }
    let step = read_tensors(&path)?.into_iter().find(|stored| stored.name == "step");
    Ok(step.and_then(|stored| joined(&stored.numbers.into_f32())))
}

/// A count from its two halves.
fn joined(halves: &[f32]) -> Option<u64> {
    match *halves {
        [high, low] => Some((high as u64) << 16 | low as u64),
        _ => None,
    }
}

impl Trainer {
    /// Waits, then writes the run to `folder`: the pipeline with the averaged weights, and
    /// `training/` with raw weights, moments and settings. Every file is written beside and
    /// renamed; `training/state.safetensors`, which alone decides where a resumed run goes on,
    /// comes first.
    ///
    /// # Errors
    /// If a file cannot be written, or the device is lost.
    pub fn save(&mut self, folder: &Path, notes: Json) -> Result<(), Error> {
        let training = create_folder(folder.join("training"))?;
        let mut named: Vec<(String, Vec<usize>, Vec<f32>)> = Vec::new();
        for (part, prefix) in PARTS.iter().enumerate() {
            let arenas = self.read_state(part)?;
            for (spec, data) in self.layout.extract(&arenas) {
                named.push((format!("{prefix}.{}", spec.name), spec.of.shape.to_vec(), data));
            }
        }
        if let Some(memory) = self.graph.memory {
            let shape = self.graph.graph.type_of(memory).shape.to_vec();
            named.push((MEMORY.into(), shape, self.executor.read(memory)?));
        }
        // The device's count: it stands still after a bad step, whatever was submitted since.
        let step = self.counter()?.step;
        // f32 holds each half of it exactly.
        let step = [(step >> 16) as f32, (step & 0xffff) as f32];
        named.push(("step".into(), vec![2], step.to_vec()));
        let tensors = named.iter().map(|(name, shape, data)| (&name[..], &shape[..], &data[..]));
        write_tensors(&training.join("state.safetensors"), Storage::F32, tensors)?;
        let info = self.executor.gpu().info();
        let [_, height, width, _] = self.graph.graph.type_of(self.graph.x0).shape[..] else {
            unreachable!("a batch of images has four axes")
        };
        let settings = Settings {
            options: self.options.clone(),
            size: [height, width],
            plan: format!("{:016x}", self.plan().hash()),
            device: format!("{} ({} {})", info.name, info.driver, info.driver_info),
            notes,
        };
        let text = serde_json::to_string_pretty(&settings)
            .expect("plain fields with string keys are JSON");
        write_text(&training.join("settings.json"), &(text + "\n"))?;
        let averaged = self.averaged_weights()?;
        let weights = parameters_of(&self.layout, &averaged);
        write_pipeline(folder, self.unet.config(), &self.scheduler, &weights)
    }

    /// Continues the run that [`Trainer::save`] wrote to `folder`.
    ///
    /// # Errors
    /// If a file is missing or damaged; the error names it.
    pub fn resume(gpu: &Gpu, folder: &Path) -> Result<(Self, Settings), Error> {
        let path = folder.join("training/settings.json");
        let text = files::read_text(&path).map_err(|source| file_error(&path, source))?;
        let settings = read_settings(&path, &text)?;
        let unet = UNet::new(UNetConfig::read(&folder.join("unet/config.json"))?)?;
        let scheduler = SchedulerConfig::read(&folder.join("scheduler/scheduler_config.json"))?;
        let mut trainer = Self::new(gpu, unet, scheduler, settings.size, settings.options.clone())?;
        let path = folder.join("training/state.safetensors");
        let mut found: HashMap<String, (Vec<usize>, Vec<f32>)> = read_tensors(&path)?
            .into_iter()
            .map(|stored| (stored.name, (stored.shape, stored.numbers.into_f32())))
            .collect();
        let refuse = |message: String| {
            Error::from(TrainingError::Checkpoint { path: path.clone(), message })
        };
        for (part, prefix) in PARTS.iter().enumerate() {
            let mut weights = Parameters::default();
            for spec in &trainer.layout.specs {
                let name = format!("{prefix}.{}", spec.name);
                let Some((shape, data)) = found.remove(&name) else {
                    return Err(refuse(format!("{name} is missing")));
                };
                if shape != spec.of.shape[..] {
                    return Err(refuse(format!(
                        "{name} must be {}, found {shape:?}",
                        spec.of.shape
                    )));
                }
                weights.insert(&spec.name, spec.of.shape, data);
            }
            let arenas = arenas_of(&trainer.layout, &weights)?;
            trainer.write_state(part, &arenas)?;
        }
        if let Some(memory) = trainer.graph.memory {
            let expected = trainer.graph.graph.type_of(memory).shape;
            match found.remove(MEMORY) {
                Some((shape, losses)) if shape == expected[..] => {
                    trainer.executor.write(memory, &losses)?;
                }
                Some((shape, _)) => {
                    return Err(refuse(format!("{MEMORY} must be {expected}, found {shape:?}")));
                }
                None => return Err(refuse(format!("{MEMORY} is missing"))),
            }
        }
        let step = found.remove("step").and_then(|(_, halves)| joined(&halves));
        trainer.resume_at(step.ok_or_else(|| refuse("step is missing".into()))?)?;
        Ok((trainer, settings))
    }
}
