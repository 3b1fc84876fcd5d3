//! `ddim train`: a model from images of the user's own.
mod begin;
mod init;
mod ranks;
mod resume;
mod run;
mod samples;

use crate::{
    check,
    cli::{self, Device},
    console::say,
    failure::Failure,
    files,
    lock::Lock,
    presets,
    progress::{Progress, counted},
    shell,
    smoothing::smoothed,
    training,
};
use begin::Training;
use ddim::{
    data::Dataset,
    diffusion::schedule::{SchedulerConfig, Variance},
    error::TrainingError,
    gpu::Gpu,
    models::unet2d::{SampleSize, UNet, UNetConfig},
    pipeline::RunFolder,
    training::{Loss, LossScale, Trainer, Validation},
};
use init::fine_tune;
use resume::{leave, resume};
use run::Run;
pub use run::{Notes, absolute};
use std::{
    path::Path,
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// What a run writes beside `training/`.
pub const PIPELINE: [&str; 6] =
    ["model_index.json", "unet", "scheduler", "samples.png", "check.safetensors", "samples"];

/// Trains, with checkpoints.
pub fn run(device: &Device, arguments: &cli::Train) -> Result<(), Failure> {
    let out = &arguments.out;
    let _lock = Lock::of(out)?;
    let folder = RunFolder::open(out)?;
    if !arguments.resume && !arguments.existing.overwrite {
        refuse_other_run(&folder, out, &PIPELINE)?;
    }
    let gpu = device.open()?;
    let mut run = match arguments.resume {
        true => resume(&gpu, arguments, &folder)?,
        false => begin(&gpu, arguments)?,
    };
    run.check_rate()?;
    files::prepare_own_folder(out)?;
    let stop = listen()?;
    run.describe(&gpu);
    let done = arguments.resume.then(|| run.trainer.steps());
    let timeout = Duration::from_secs(arguments.timeout);
    let ended = ranks::beside(device, &mut run, timeout, |run| train(run, out, done, &stop))?;
    match ended {
        Ended::Well => finish(&gpu, run, out, &stop),
        Ended::NotFinite { bad, kept } => leave(&gpu, run, out, kept, &bad),
    }
}

/// Refuses a folder that holds a run, or something else where a new run writes.
pub fn refuse_other_run(folder: &RunFolder, out: &Path, written: &[&str]) -> Result<(), Failure> {
    if folder.holds_checkpoint() {
        let text = "holds a run already: go on with it by --resume, or choose another folder";
        return Err(Failure::file(out, text));
    }
    files::refuse_taken(out, written)
}

/// How training ended.
enum Ended {
    /// All steps are done, or somebody stopped it; there is a checkpoint.
    Well,
    /// By numbers that are not finite; `kept` is the step of the last checkpoint.
    NotFinite { bad: String, kept: Option<u64> },
}

/// Trains to the last step; `kept` is the step of the last checkpoint, if there is one.
fn train(
    run: &mut Run,
    out: &Path,
    mut kept: Option<u64>,
    stop: &AtomicBool,
) -> Result<Ended, Failure> {
    let (images, mut validation) = match run.notes.valid {
        None => (run.data.clone(), None),
        Some(fraction) => {
            let (images, held_out) = run.data.split(fraction, run.trainer.options().seed)?;
            (images, Some(Validation::new(&run.trainer, held_out)?))
        }
    };
    let total = u64::from(run.notes.steps);
    let mut progress = Progress::new("training", run.trainer.steps(), total, "steps");
    let mut skipped = run.trainer.loss_scale()?.map_or(0, |of| of.skipped);
    while run.trainer.steps() < total {
        let until = run.notes.next_stop(run.trainer.steps());
        let Run { trainer, notes, losses, .. } = &mut *run;
        let result =
            training::train(trainer, &images, (until, notes.flip), losses, &mut progress, stop);
        if let Err(Failure::Library(ddim::Error::Training(
            TrainingError::NotFinite { step, loss, norm }
            | TrainingError::LossScale { step, loss, norm, .. },
        ))) = result
        {
            let bad = format!("step {step}: the loss is {loss} and the gradient norm {norm}");
            return Ok(Ended::NotFinite { bad, kept });
        }
        result?;
        report_skipped(&mut run.trainer, &mut skipped, &progress)?;
        let (steps, stopped) = (run.trainer.steps(), stop.load(Ordering::Relaxed));
        if run.notes.samples_at(steps) && !stopped {
            samples::write(run, out, &progress)?;
        }
        if !stopped && !run.notes.saves_at(steps) {
            continue;
        }
        if let Some(validation) = &mut validation {
            validate(validation, run, &progress)?;
        }
        run.save(out)?;
        kept = Some(steps);
        // Not before there is a checkpoint, however early ctrl-c came.
        if stopped {
            break;
        }
    }
    Ok(Ended::Well)
}

/// Says how many steps a loss scale skipped since it was last said.
fn report_skipped(trainer: &mut Trainer, known: &mut u64, of: &Progress) -> Result<(), Failure> {
    if let Some(LossScale { scale, skipped, .. }) = trainer.loss_scale()?
        && skipped > *known
    {
        let (count, steps) = (counted(skipped - *known, "step"), trainer.steps());
        of.line(&format!("step {steps}: {count} skipped, the loss scale is {scale}"));
        *known = skipped;
    }
    Ok(())
}

/// Notes the held-out loss, and says it.
fn validate(validation: &mut Validation, run: &mut Run, of: &Progress) -> Result<(), Failure> {
    let steps = run.trainer.steps();
    let mut progress: Option<Progress> = None;
    let loss = validation.loss(&mut run.trainer, |done, total| {
        let new = || Progress::new("held out", 0, total as u64, "batches");
        progress.get_or_insert_with(new).update(done as u64, "");
    })?;
    run.losses.held_out.push((steps, loss));
    of.line(&format!("step {steps}: held-out loss {loss:.4}"));
    Ok(())
}

/// Sets a flag at the first ctrl-c; the second ends the program.
pub fn listen() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            process::exit(130);
        }
    })
    .map_err(|error| Failure::Usage(format!("listening for ctrl-c: {error}")))?;
    Ok(stop)
}

fn begin(gpu: &Gpu, arguments: &cli::Train) -> Result<Run, Failure> {
    let Some(source) = &arguments.data else {
        return Err(Failure::Usage("--data is missing".into()));
    };
    if let Some(folder) = &arguments.init {
        return fine_tune(gpu, arguments, folder, source);
    }
    if arguments.beside.flags.is_some() || arguments.beside.variant.is_some() {
        let text = "--flags, --variant: they are said of the model of --init";
        return Err(Failure::Usage(text.into()));
    }
    let mut notes = Notes::new(arguments, source);
    let given = arguments.config.as_deref().map(UNetConfig::read).transpose()?;
    notes.size_as(given.as_ref().and_then(|config| config.sample_size));
    let channels = given.as_ref().map_or(0, |config| config.in_channels);
    let data = notes.open_data()?.with_channels(channels);
    let preset = presets::of([data.height(), data.width(), data.channels()]);
    notes.steps = arguments.steps.unwrap_or(preset.steps);
    let mut options = arguments.options(preset.options);
    let objective = arguments.objective()?;
    options.objective = objective.unwrap_or(options.objective);
    let config = config(arguments, given, preset.unet, &data)?;
    let learned = config.out_channels == 2 * config.in_channels;
    let scheduler = SchedulerConfig {
        prediction_type: arguments.prediction.unwrap_or_default(),
        variance_type: if learned { Variance::LearnedRange } else { Variance::default() },
        beta_schedule: arguments.schedule.unwrap_or_default(),
        ..SchedulerConfig::default()
    };
    let scheduler = options.objective.scheduler().unwrap_or(scheduler);
    let size = [data.height(), data.width()];
    let trainer = Training { unet: UNet::new(config)?, scheduler, size }.begin(gpu, options)?;
    Ok(Run::new(trainer, notes, data))
}

/// The U-Net that is `given`, or else the `usual` one, for these images.
fn config(
    arguments: &cli::Train,
    given: Option<UNetConfig>,
    usual: UNetConfig,
    data: &Dataset,
) -> Result<UNetConfig, Failure> {
    let mut config = match given {
        None if arguments.loss.unwrap_or_default() == Loss::Simple => usual,
        None => UNetConfig { out_channels: 2 * usual.in_channels, ..usual },
        Some(config) => UNetConfig {
            sample_size: Some(SampleSize::Sides([data.height(), data.width()])),
            ..config
        },
    };
    let dropped = arguments.label_drop.is_some_and(|share| share > 0.0);
    if arguments.conditional {
        let Some(classes) = data.classes() else {
            let text = "--conditional: the images have no labels: a folder for each class would give \
                        them";
            return Err(Failure::Usage(text.into()));
        };
        // The null label is the last one.
        config.num_class_embeds = Some(classes + usize::from(dropped));
    } else if dropped && config.num_class_embeds.is_none() {
        return Err(Failure::Usage(
            "--label-drop: the model has no classes: add --conditional".into(),
        ));
    }
    Ok(config)
}

fn finish(gpu: &Gpu, mut run: Run, out: &Path, stop: &AtomicBool) -> Result<(), Failure> {
    let steps = run.trainer.steps();
    let (path, ddim, word) = (out.display(), shell::program(), shell::path(out));
    if stop.load(Ordering::Relaxed) {
        say!("stopped after step {steps}; go on with: {ddim} train --resume --out {word}");
        return Ok(());
    }
    let model = run.pipeline()?;
    check::write(gpu, &model, &run.data, out)?;
    let (picture, count) = samples::picture(&run, &model)?;
    files::write(&out.join("samples.png"), picture)?;
    let loss =
        smoothed(&run.losses.steps).map_or(String::new(), |loss| format!(", loss {loss:.4}"));
    let steps = counted(steps, "step");
    say!("{path}: {steps}{loss}; samples.png shows {count} new images");
    say!("more of them: {ddim} sample --model {word} --out new.png");
    Ok(())
}
