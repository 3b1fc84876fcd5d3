//! The model that the experiments are about: trained here, or taken.
use crate::{
    cli,
    console::say,
    failure::Failure,
    lock::Lock,
    presets::{self, Preset},
    progress::{Progress, clock, thousands},
    smoothing::smoothed,
    training,
};
use ddim::{
    data::Dataset,
    files,
    gpu::Gpu,
    models::unet2d::UNet,
    pipeline::{self, Pipeline, RunFolder},
    training::{Losses, Settings, Trainer, TrainingOptions, steps_trained},
};
use flate2::Crc;
use serde_json::{Value as Json, json};
use std::{
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
    time::Instant,
};

/// Steps between checkpoints: a break loses at most so many.
const SAVE_EVERY: u64 = 100;

/// What is known of a model's training.
#[derive(Clone, Copy, Debug, Default)]
pub struct Provenance {
    /// Steps that it was trained.
    pub steps: Option<u64>,
    /// How long that took.
    pub seconds: Option<f64>,
}

/// Where the model comes from.
pub enum Source {
    /// A pipeline folder of the user's.
    Taken(PathBuf),
    /// Trained into a folder.
    Trained { folder: PathBuf, preset: Box<Preset> },
}

impl Source {
    /// What the arguments say; `preset` is trained where they name no model.
    pub fn new(arguments: &cli::Experiments, preset: Preset) -> Self {
        match &arguments.model {
            Some(folder) => Self::Taken(folder.clone()),
            None => {
                let steps = arguments.train_steps.unwrap_or(preset.steps);
                let folder = arguments.out.join("model");
                // However many there are, the rate has fallen to zero after the last of them.
                let (decay_steps, seed) = (Some(steps), arguments.seed);
                let options = TrainingOptions { decay_steps, seed, ..preset.options };
                Self::Trained { folder, preset: Box::new(Preset { steps, options, ..preset }) }
            }
        }
    }

    /// What results depend on, for the settings of the folder.
    pub fn identity(&self) -> Result<Json, Failure> {
        match self {
            Self::Taken(folder) => {
                let weights = "unet/diffusion_pytorch_model.safetensors";
                let file = RunFolder::open(folder)?.path(weights);
                let bytes =
                    files::read(&file, u64::MAX).map_err(|error| Failure::file(&file, error))?;
                let mut crc = Crc::new();
                crc.update(&bytes);
                Ok(json!({"weights": format!("{} bytes, CRC {:08x}", bytes.len(), crc.sum())}))
            }
            Self::Trained { preset, .. } => {
                let Preset { unet, options, steps } = &**preset;
                let channels = &unet.block_out_channels;
                let prediction = presets::scheduler().prediction_type;
                Ok(json!({
                    "steps": steps,
                    "channels": channels,
                    "prediction": prediction,
                    "options": options,
                }))
            }
        }
    }

    /// The model, trained as far as it was not yet, and its provenance.
    pub fn open(&self, gpu: &Gpu, data: &Dataset) -> Result<(Pipeline, Provenance), Failure> {
        let folder = match self {
            Self::Taken(folder) => folder,
            Self::Trained { folder, preset } => {
                if provenance(folder)?.steps.is_none_or(|done| done < u64::from(preset.steps)) {
                    train(gpu, data, folder, preset)?;
                }
                folder
            }
        };
        let pipeline = pipeline::open(folder)?;
        pipeline.check_data(folder, data)?;
        Ok((pipeline, provenance(folder)?))
    }

    /// The losses of the training, if it left any.
    pub fn losses(&self) -> Option<Losses> {
        let (Self::Taken(folder) | Self::Trained { folder, .. }) = self;
        let losses = training::read_losses(&RunFolder::open(folder).ok()?, u64::MAX).ok()?;
        (!losses.steps.is_empty()).then_some(losses)
    }
}

/// What is known of the training of the model in a folder.
fn provenance(folder: &Path) -> Result<Provenance, Failure> {
    let Some(steps) = steps_trained(folder)? else { return Ok(Provenance::default()) };
    let path = RunFolder::open(folder)?.path("training/settings.json");
    Ok(Provenance { steps: Some(steps), seconds: Settings::read(&path)?.notes["seconds"].as_f64() })
}

/// Trains, or goes on with, the model in `folder`.
fn train(gpu: &Gpu, data: &Dataset, folder: &Path, preset: &Preset) -> Result<(), Failure> {
    let _lock = Lock::of(folder)?;
    let began = provenance(folder)?;
    let mut trainer = match began.steps {
        Some(_) => Trainer::resume(gpu, folder)?.0,
        None => {
            let size = [data.height(), data.width()];
            let Preset { unet, options, .. } = preset.clone();
            Trainer::new(gpu, UNet::new(unet)?, presets::scheduler(), size, options)?
        }
    };
    let mut losses = training::read_losses(&RunFolder::open(folder)?, trainer.steps())?;
    let mut seconds = began.seconds.unwrap_or(0.0);
    let total = u64::from(preset.steps);
    let never = AtomicBool::new(false);
    let mut progress = Progress::new("training", trainer.steps(), total, "steps");
    while trainer.steps() < total {
        let start = Instant::now();
        let until = (trainer.steps() / SAVE_EVERY * SAVE_EVERY + SAVE_EVERY).min(total);
        training::train(&mut trainer, data, (until, false), &mut losses, &mut progress, &never)?;
        seconds += start.elapsed().as_secs_f64();
        training::save(&losses, &mut trainer, folder, json!({"seconds": seconds}), &[])?;
    }
    drop(progress);
    let loss = smoothed(&losses.steps).unwrap_or(f32::NAN);
    let (steps, taken) = (thousands(total), clock(seconds));
    say!("trained {steps} steps in {taken}, loss {loss:.4}");
    Ok(())
}
