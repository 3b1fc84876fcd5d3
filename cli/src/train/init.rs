//! Fine-tuning: a run that begins with the model of a pipeline.
use super::{
    begin::Training,
    notes::{Notes, absolute, workers},
    run::Run,
};
use crate::{cli, failure::Failure, presets};
use ddim::{
    diffusion::schedule::SchedulerConfig,
    gpu::Gpu,
    models::unet2d::{SampleSize, UNet, UNetConfig},
    nn::Model,
    pipeline::open_with,
    training::TrainingOptions,
    weights::NonFinite,
};
use std::path::Path;

/// Highest learning rate unless the user gives one: a larger one soon undoes what was learnt.
const RATE: f64 = 1e-4;

/// Share of the labels that are dropped unless the user gives one, where a label stands for none.
const LABEL_DROP: f64 = 0.1;

/// A run with the weights, the U-Net and the noise schedule of the pipeline in `folder`.
pub fn fine_tune(
    gpu: &Gpu,
    arguments: &cli::Train,
    folder: &Path,
    source: &Path,
) -> Result<Run, Failure> {
    let pipeline = open_with(folder, &arguments.beside.opening(NonFinite::Refuse))?;
    if arguments.conditional && pipeline.classes().is_none() {
        let text =
            "--conditional: the model of --init has no classes: train a new one, without --init";
        return Err(Failure::Usage(text.into()));
    }
    let mut notes = Notes::new(arguments, source);
    notes.init = Some(absolute(folder).display().to_string());
    // Pictures of any size become those that the model was made for.
    notes.size_as(pipeline.unet.config().sample_size);
    let workers = workers(arguments.images.workers);
    let data = notes.open_images(workers)?.with_classes(&pipeline.class_names)?;
    let data = data.with_channels(pipeline.unet.channels());
    if pipeline.classes().is_some() && data.labels().is_none() {
        let text =
            "the model of --init has classes: give labelled images, as a folder for each class";
        return Err(Failure::Usage(text.into()));
    }
    let shape @ [height, width, _] = data.shape();
    let (size, preset) = ([height, width], presets::of(shape));
    notes.steps = arguments.steps.unwrap_or(preset.steps);
    let drops = pipeline.null_label.is_some();
    let usual = TrainingOptions {
        learning_rate: preset.options.learning_rate.min(RATE),
        label_drop: if drops { LABEL_DROP } else { 0.0 },
        ..preset.options
    };
    let options = arguments.options(usual, notes.steps)?;
    let config = pipeline.unet.config();
    let config = UNetConfig { sample_size: Some(SampleSize::Sides(size)), ..config.clone() };
    let scheduler = as_ddpm(pipeline.scheduler);
    let mut trainer = Training { unet: UNet::new(config)?, scheduler, size }.begin(gpu, options)?;
    trainer.load(&*pipeline.weights)?;
    let run = Run { init: Some(folder.into()), ..Run::new(trainer, notes, data, workers) };
    Ok(match run.class_names.is_empty() {
        true => Run { class_names: pipeline.class_names, ..run },
        false => run,
    })
}

/// The same betas by the class whose process is trained: other classes sample along them in ways of
/// their own.
fn as_ddpm(scheduler: SchedulerConfig) -> SchedulerConfig {
    let class_name = match &scheduler.class_name[..] {
        "DDIMScheduler" => scheduler.class_name,
        _ => "DDPMScheduler".into(),
    };
    SchedulerConfig { class_name, ..scheduler }
}
