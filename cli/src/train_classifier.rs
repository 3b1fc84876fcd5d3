//! `ddim train-classifier`: a classifier of noisy images, which then guides samples.
use crate::{
    cli::{self, Device},
    console::say,
    devices::describe,
    failure::Failure,
    files,
    lock::Lock,
    plan::summary,
    presets,
    progress::{Progress, counted, thousands},
    shell,
    smoothing::smoothed,
    train::{self, Notes, Sides, absolute, listen},
    training,
};
use ddim::{
    data::Dataset,
    diffusion::schedule::SchedulerConfig,
    gpu::Gpu,
    models::classifier_unet::{ClassifierConfig, ClassifierUNet},
    pipeline::RunFolder,
    training::{Losses, Trainer},
};
use std::{path::Path, sync::atomic::Ordering};

/// What a run writes beside `training/`.
const WRITTEN: [&str; 3] = ["config.json", "classifier.safetensors", "scheduler"];

/// A run that is about to begin or to go on.
struct Run {
    trainer: Trainer<ClassifierUNet>,
    notes: Notes,
    data: Dataset,
    losses: Losses,
}

/// Trains, with checkpoints.
pub fn run(device: &Device, arguments: &cli::TrainClassifier) -> Result<(), Failure> {
    let out = &arguments.out;
    let _lock = Lock::of(out)?;
    let folder = RunFolder::open(out)?;
    if !arguments.resume && !arguments.existing.overwrite {
        train::refuse_other_run(&folder, out, &WRITTEN)?;
    }
    let gpu = device.open()?;
    let mut run = match arguments.resume {
        true => resume(&gpu, arguments, &folder)?,
        false => begin(&gpu, arguments)?,
    };
    files::prepare_own_folder(out)?;
    let stop = listen()?;
    describe_run(&gpu, &run);
    let total = u64::from(run.notes.steps);
    let mut progress = Progress::new("training", run.trainer.steps(), total, "steps");
    while run.trainer.steps() < total && !stop.load(Ordering::Relaxed) {
        let Run { trainer, notes, data, losses } = &mut run;
        let until = notes.next_stop(trainer.steps());
        training::train(trainer, data, (until, notes.flip), losses, &mut progress, &stop)?;
        let names = data.class_names().unwrap_or_default();
        let beside = training::beside(losses, names)?;
        let beside: Vec<_> = beside.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
        trainer.save_classifier(out, notes.to_json(), &beside)?;
    }
    drop(progress);
    finish(&run, out);
    Ok(())
}

fn begin(gpu: &Gpu, arguments: &cli::TrainClassifier) -> Result<Run, Failure> {
    let Some(source) = &arguments.data else {
        return Err(Failure::Usage("--data is missing".into()));
    };
    let given = arguments.config.as_deref().map(ClassifierConfig::read).transpose()?;
    let size = arguments.size.or(given.as_ref().map(|config| config.image_size));
    let mut notes = Notes {
        data: absolute(source),
        size: size.map(Sides::Square),
        max_pixels: arguments.max_pixels,
        flip: arguments.flip,
        save_every: arguments.save_every,
        ..Notes::default()
    };
    let channels = given.as_ref().map_or(0, |config| config.in_channels);
    let data = notes.open_data()?.with_channels(channels);
    let Some(classes) = data.classes() else {
        let text = "--data: the images have no labels: a folder for each class would give them";
        return Err(Failure::Usage(text.into()));
    };
    let (height, width) = (data.height(), data.width());
    if height != width {
        let text = format!("the images are {height}x{width}: give --size, for they must be square");
        return Err(Failure::Usage(text));
    }
    let shape = [height, width, data.channels()];
    let preset = presets::of(shape);
    let config = given.unwrap_or_else(|| presets::classifier(shape, classes));
    notes.steps = arguments.steps.unwrap_or(preset.steps);
    let mut options = preset.options;
    options.batch = arguments.batch.unwrap_or(options.batch);
    options.learning_rate = arguments.lr.unwrap_or(options.learning_rate);
    options.ema_decay = arguments.ema.unwrap_or(options.ema_decay);
    options.seed = arguments.seed;
    let scheduler = SchedulerConfig {
        beta_schedule: arguments.schedule.unwrap_or_default(),
        ..SchedulerConfig::default()
    };
    let network = ClassifierUNet::new(config)?;
    let trainer = Trainer::classifier(gpu, network, scheduler, options)?;
    Ok(Run { trainer, notes, data, losses: Losses::default() })
}

/// Opens the run in a folder; only its length may be another.
fn resume(gpu: &Gpu, arguments: &cli::TrainClassifier, folder: &RunFolder) -> Result<Run, Failure> {
    if !folder.holds_checkpoint() {
        let text = "holds no checkpoint to go on from: begin a run, without --resume";
        return Err(Failure::file(&arguments.out, text));
    }
    let (trainer, settings) = Trainer::resume_classifier(gpu, folder)?;
    let mut notes: Notes = serde_json::from_value(settings.notes)
        .map_err(|error| Failure::file(&arguments.out, format!("notes: {error}")))?;
    notes.steps = arguments.steps.unwrap_or(notes.steps);
    let data = notes.open_data()?.with_channels(trainer.model().config().in_channels);
    let losses = training::read_losses(folder, trainer.steps())?;
    Ok(Run { trainer, notes, data, losses })
}

/// Says what is trained on what.
fn describe_run(gpu: &Gpu, run: &Run) {
    let Run { trainer, data, notes, .. } = run;
    let config = trainer.model().config();
    let (side, channels, classes) = (config.image_size, config.in_channels, config.num_classes);
    say!("{}", describe(gpu));
    let count = counted(data.len() as u64, "image");
    say!("data   {}: {count} of {side}x{side}x{channels}, {classes} classes", data.name());
    let parameters = thousands(trainer.arenas().elements() as u64);
    say!("model  {parameters} parameters, {:?} pool", config.classifier_pool);
    say!("plan   {}", summary(trainer.plan()));
    let options = trainer.options();
    let (next, batch, rate) = (trainer.steps() + 1, options.batch, options.learning_rate);
    say!("run    steps {next} to {}, batch {batch}, learning rate {rate}", notes.steps);
}

fn finish(run: &Run, out: &Path) {
    let (steps, ddim, word) = (run.trainer.steps(), shell::program(), shell::path(out));
    if steps < u64::from(run.notes.steps) {
        let command = format!("{ddim} train-classifier --resume --out {word}");
        say!("stopped after step {steps}; go on with: {command}");
        return;
    }
    let loss =
        smoothed(&run.losses.steps).map_or(String::new(), |loss| format!(", loss {loss:.4}"));
    say!("{}: {}{loss}", out.display(), counted(steps, "step"));
    say!("samples that it guides: {ddim} sample --model MODEL --classifier {word} --out new.png");
}
