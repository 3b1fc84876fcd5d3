//! `ddim train`: a model from images of the user's own.
mod init;
mod resume;
mod run;

use crate::{
    check,
    cli::{self, Device},
    console::say,
    failure::Failure,
    files,
    lock::Lock,
    presets,
    progress::Progress,
    sampling::sample,
    training,
};
use ddim::{
    data::Dataset,
    diffusion::schedule::{SchedulerConfig, Variance},
    error::TrainingError,
    gpu::Gpu,
    models::unet2d::{SampleSize, UNet, UNetConfig},
    pictures::{Picture, columns, comfortable_scale},
    pipeline::{Pipeline, RunFolder},
    sampling::SamplingRequest,
    training::{Loss, Trainer, Validation},
};
use init::fine_tune;
use resume::{leave, resume};
use run::{Notes, Run};
use std::{
    path::Path,
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Pixels of a picture up to which 64 of them are sampled at the end; of larger ones 16.
const SMALL: usize = 16 * 16;

/// What a run writes beside `training/`.
pub const PIPELINE: [&str; 5] =
    ["model_index.json", "unet", "scheduler", "samples.png", "check.safetensors"];

/// Trains, with checkpoints.
pub fn run(device: &Device, arguments: &cli::Train) -> Result<(), Failure> {
    let out = &arguments.out;
    let _lock = Lock::of(out)?;
    let folder = RunFolder::open(out)?;
    if !arguments.resume && !arguments.existing.overwrite {
        if folder.holds_checkpoint() {
            let text = "holds a run already: go on with it by --resume, or choose another folder";
            return Err(Failure::file(out, text));
        }
        files::refuse_taken(out, &PIPELINE)?;
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
    match train(&mut run, out, done, &stop)? {
        Ended::Well => finish(&gpu, run, out, &stop),
        Ended::NotFinite { bad, kept } => leave(&gpu, run, out, kept, &bad),
    }
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
    let every = u64::from(run.notes.save_every);
    let mut progress = Progress::new("training", run.trainer.steps(), total, "steps");
    while run.trainer.steps() < total {
        let until = (run.trainer.steps() / every * every + every).min(total);
        let Run { trainer, notes, losses, .. } = &mut *run;
        let result =
            training::train(trainer, &images, (until, notes.flip), losses, &mut progress, stop);
        if let (Some(validation), Ok(())) = (&mut validation, &result) {
            let loss = validation.loss(trainer)?;
            losses.held_out.push((trainer.steps(), loss));
            progress.line(&format!("step {}: held-out loss {loss:.4}", trainer.steps()));
        }
        if let Err(Failure::Library(ddim::Error::Training(TrainingError::NotFinite {
            step,
            loss,
            norm,
        }))) = result
        {
            let bad = format!("step {step}: the loss is {loss} and the gradient norm {norm}");
            return Ok(Ended::NotFinite { bad, kept });
        }
        result?;
        run.save(out)?;
        kept = Some(run.trainer.steps());
        // Not before there is a checkpoint, however early ctrl-c came.
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    progress.finish();
    Ok(Ended::Well)
}

/// Sets a flag at the first ctrl-c; the second ends the program.
fn listen() -> Result<Arc<AtomicBool>, Failure> {
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
    let mut notes = Notes::new(arguments, source);
    let data = notes.open_data()?;
    let preset = presets::of([data.height(), data.width(), data.channels()]);
    notes.steps = arguments.steps.unwrap_or(preset.steps);
    let options = arguments.options(preset.options);
    let config = config(arguments, preset.unet, &data)?;
    let learned = config.out_channels == 2 * config.in_channels;
    let scheduler = SchedulerConfig {
        prediction_type: arguments.prediction.unwrap_or_default(),
        variance_type: if learned { Variance::LearnedRange } else { Variance::default() },
        beta_schedule: arguments.schedule.unwrap_or_default(),
        ..SchedulerConfig::default()
    };
    let size = [data.height(), data.width()];
    let trainer = Trainer::new(gpu, UNet::new(config)?, scheduler, size, options)?;
    Ok(Run::new(trainer, notes, data))
}

/// The U-Net that the arguments name, or else `usual`, for these images.
fn config(
    arguments: &cli::Train,
    usual: UNetConfig,
    data: &Dataset,
) -> Result<UNetConfig, Failure> {
    let mut config = match &arguments.config {
        None if arguments.loss.unwrap_or_default() == Loss::Simple => usual,
        None => UNetConfig { out_channels: 2 * usual.in_channels, ..usual },
        Some(file) => UNetConfig {
            sample_size: Some(SampleSize::Sides([data.height(), data.width()])),
            ..UNetConfig::read(file)?
        },
    };
    if arguments.conditional {
        let Some(classes) = data.classes() else {
            return Err(Failure::Usage("--conditional: the images have no labels".into()));
        };
        // The null label is the last one.
        let dropped = arguments.label_drop.is_some_and(|share| share > 0.0);
        config.num_class_embeds = Some(classes + usize::from(dropped));
    }
    Ok(config)
}

fn finish(gpu: &Gpu, mut run: Run, out: &Path, stop: &AtomicBool) -> Result<(), Failure> {
    let steps = run.trainer.steps();
    let path = out.display();
    if stop.load(Ordering::Relaxed) {
        say!("stopped after step {steps}; go on with: ddim train --resume --out {path}");
        return Ok(());
    }
    let weights = run.trainer.averaged_weights()?;
    let unet = run.trainer.model().clone();
    let scheduler = run.trainer.scheduler().clone();
    let dropped = run.trainer.options().label_drop > 0.0;
    let null_label = unet.null_label().filter(|_| dropped);
    let class_names = run.class_names;
    let model = Pipeline { unet, scheduler, weights, null_label, class_names };
    check::write(gpu, &model, &run.data, out)?;
    let table = model.scheduler.ddim(50.min(model.scheduler.num_train_timesteps), 0.0)?;
    let shape @ [height, width, _] = [run.data.height(), run.data.width(), run.data.channels()];
    let count = if height * width <= SMALL { 64 } else { 16 };
    let seed = run.trainer.options().seed;
    let request = SamplingRequest::new(&table, [height, width], count, seed);
    let images = sample(gpu, &model, request)?;
    let scale = comfortable_scale(height, width);
    let picture = Picture::grid(&images, shape, columns(count), scale)?;
    files::write(&out.join("samples.png"), picture.png()?)?;
    let loss =
        training::recent(&run.losses).map_or(String::new(), |loss| format!(", loss {loss:.4}"));
    say!("{path}: {steps} steps{loss}; samples.png shows {count} new images");
    say!("more of them: ddim sample --model {path} --out new.png");
    Ok(())
}
