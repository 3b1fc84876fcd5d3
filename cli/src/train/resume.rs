//! Going on with a run: what may change, what may not, and what is left to go on with where numbers
//! went bad.
use super::{
    begin::Training,
    notes::{HeldOut, Notes, absolute, cache, part, workers},
    run::Run,
};
use crate::{cli, failure::Failure, training::read_losses};
use ddim::{
    diffusion::schedule::SchedulerConfig,
    gpu::Gpu,
    models::unet2d::{SampleSize, UNet, UNetConfig},
    nn::Model,
    pipeline::{self, RunFolder, class_names},
    training::{Settings, Trainer},
};
use std::path::Path;

/// Opens the run in a folder, with the settings that the arguments change.
pub fn resume(gpu: &Gpu, arguments: &cli::Train, folder: &RunFolder) -> Result<Run, Failure> {
    if !folder.holds_checkpoint() {
        let text = "holds no checkpoint to go on from: begin a run, without --resume";
        return Err(Failure::file(&arguments.out, text));
    }
    let path = folder.path("training/settings.json");
    let before = Settings::read(&path)?;
    let mut recorded = before.notes;
    let notes = serde_json::from_value(recorded.clone())
        .map_err(|error| Failure::file(&path, format!("notes: {error}")))?;
    refuse_others(arguments, folder, &notes)?;
    let options = arguments.options(before.options, arguments.steps.unwrap_or(notes.steps))?;
    let notes = changed(arguments, notes);
    // What a demo notes beside is none of this.
    if let Some(recorded) = recorded.as_object_mut() {
        recorded.extend(notes.to_json().as_object_mut().map(std::mem::take).unwrap_or_default());
    }
    let (trainer, resumed) = match Trainer::resume_with(gpu, folder, options.clone(), recorded) {
        Err(error) => return Err(of_checkpoint(folder)?.advise(error, gpu, &options)),
        Ok(resumed) => resumed,
    };
    let done = trainer.steps();
    // How far a run goes, and where it saves, changes no step.
    let mut notes = notes.watched(&arguments.watch);
    notes.steps = arguments.steps.unwrap_or(notes.steps);
    // Nor does where decoded pictures are kept.
    notes.cache = cache(arguments).or(notes.cache);
    if u64::from(notes.steps) < done {
        let text = format!(
            "--steps {}: the run has done {done} already: give {done} or more",
            notes.steps
        );
        return Err(Failure::Usage(text));
    }
    if arguments.exact && !resumed.differences.is_empty() {
        let text = "--exact: the run would not go on with the bits of one without a break";
        return Err(Failure::Usage(format!("{text}: {}", resumed.differences.join("; "))));
    }
    let class_names = class_names(folder)?;
    let workers = workers(arguments.images.workers);
    let data = notes.open_images(workers)?.with_classes(&class_names)?;
    let data = data.with_channels(trainer.model().channels());
    let (losses, differences) = (read_losses(folder, done)?, resumed.differences);
    Ok(Run { losses, differences, class_names, ..Run::new(trainer, notes, data, workers) })
}

/// What a checkpoint trains.
fn of_checkpoint(folder: &RunFolder) -> Result<Training, Failure> {
    let config = UNetConfig::read(&folder.path("unet/config.json"))?;
    // A run writes its size; for the message alone.
    let size = config.sample_size.map_or((1, 1), SampleSize::sides).into();
    let scheduler = SchedulerConfig::read(&folder.path("scheduler/scheduler_config.json"))?;
    Ok(Training { unet: UNet::new(config)?, scheduler, size })
}

/// The recorded notes with the data that the arguments name.
fn changed(arguments: &cli::Train, recorded: Notes) -> Notes {
    let images = &arguments.images;
    Notes {
        data: arguments.data.as_deref().map_or(recorded.data, absolute),
        flip: images.flip || recorded.flip,
        crop: images.crop.map_or(recorded.crop, |crop| part(Some(crop))),
        background: images.background.or(recorded.background),
        max_pixels: images.max_pixels.or(recorded.max_pixels),
        ..recorded
    }
}

/// Refuses what makes another model, or other data, of a run.
fn refuse_others(arguments: &cli::Train, folder: &RunFolder, notes: &Notes) -> Result<(), Failure> {
    const MODEL: &str = "the weights are those of another model";
    const HELD_OUT: &str = "images that were trained on would count as held out";
    let config = UNetConfig::read(&folder.path("unet/config.json"))?;
    let scheduler = SchedulerConfig::read(&folder.path("scheduler/scheduler_config.json"))?;
    let same_model = |path| -> Result<bool, Failure> {
        let given = UNetConfig {
            sample_size: config.sample_size,
            num_class_embeds: config.num_class_embeds,
            ..UNetConfig::read(path)?
        };
        Ok(given == config)
    };
    let other_model = match &arguments.config {
        Some(path) => !same_model(path)?,
        None => false,
    };
    let images = &arguments.images;
    let valid = images.valid.as_ref().map(HeldOut::from);
    let unlike = |given: Option<bool>| given == Some(false);
    let refused = [
        ("--config", other_model, MODEL),
        ("--conditional", arguments.conditional && config.num_class_embeds.is_none(), MODEL),
        (
            "--prediction",
            unlike(arguments.prediction.map(|of| of == scheduler.prediction_type)),
            MODEL,
        ),
        ("--schedule", unlike(arguments.schedule.map(|of| of == scheduler.beta_schedule)), MODEL),
        ("--size", unlike(images.size.map(|size| Some(size.into()) == notes.size)), MODEL),
        ("--valid", unlike(valid.map(|part| Some(part) == notes.valid)), HELD_OUT),
    ];
    match refused.into_iter().find(|(_, refused, _)| *refused) {
        Some((flag, _, why)) => {
            let text =
                format!("{flag} may not change in a run ({why}): begin another, in a new folder");
            Err(Failure::Usage(text))
        }
        None => Ok(()),
    }
}

/// Numbers went bad on the way from one checkpoint to the next: what led there is not saved, so
/// that another rate leads elsewhere. Before the first checkpoint, the beginning becomes one.
pub fn leave(gpu: &Gpu, run: Run, out: &Path, kept: Option<u64>, bad: &str) -> Result<(), Failure> {
    if kept.is_none() {
        let Run { trainer, notes, data, workers, class_names, init, .. } = run;
        let (unet, scheduler) = (trainer.model().clone(), trainer.scheduler().clone());
        let [height, width, _] = data.shape();
        let size = [height, width];
        let mut trainer =
            Training { unet, scheduler, size }.begin(gpu, trainer.options().clone())?;
        if let Some(folder) = init {
            trainer.load(&*pipeline::open(&folder)?.weights)?;
        }
        Run { class_names, ..Run::new(trainer, notes, data, workers) }.save(out)?;
    }
    Err(Failure::Usage(format!(
        "{bad}; {} holds step {}: go on from there at a smaller rate, by --resume --lr, or begin \
         anew",
        out.display(),
        kept.unwrap_or(0),
    )))
}
