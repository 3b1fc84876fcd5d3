//! `ddim train`: a model from images of the user's own.
mod begin;
mod dry;
mod events;
mod follow;
mod init;
mod kept;
mod launch;
mod live;
mod notes;
#[cfg(feature = "mpi")]
mod processes;
mod ranks;
mod resume;
mod run;
mod samples;
mod steps;
mod watch;

use crate::{
    check,
    cli::{self, Device},
    console::say,
    failure::Failure,
    files,
    lock::Lock,
    presets,
    progress::counted,
    shell,
    smoothing::smoothed,
};
use begin::Training;
use ddim::{
    data::Images,
    diffusion::schedule::{SchedulerConfig, Variance},
    gpu::Gpu,
    models::unet2d::{SampleSize, UNet, UNetConfig},
    pipeline::RunFolder,
    training::Loss,
};
use init::fine_tune;
use launch::Launch;
use notes::workers;
pub use notes::{Notes, Sides, absolute};
#[cfg(feature = "mpi")]
use processes::Processes;
use ranks::{OtherRanks, Threads};
use resume::{leave, resume};
use run::Run;
use std::{
    env,
    path::Path,
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use steps::{Ended, train};

/// What a run writes beside `training/`.
pub const PIPELINE: [&str; 7] = [
    "model_index.json",
    "unet",
    "scheduler",
    "samples.png",
    "check.safetensors",
    "samples",
    samples::FILM,
];

/// Trains, with checkpoints.
pub fn run(device: &Device, arguments: &mut cli::Train) -> Result<(), Failure> {
    match Launch::of(|name| env::var(name).ok()) {
        Some(launch) => launched(&launch, device, arguments),
        None => {
            let timeout = Duration::from_secs(arguments.timeout);
            first(device, arguments, &Threads { timeout })
        }
    }
}

/// Trains as one of several processes.
#[cfg(feature = "mpi")]
fn launched(launch: &Launch, device: &Device, arguments: &mut cli::Train) -> Result<(), Failure> {
    let processes = Processes::start(launch, arguments)?;
    arguments.ranks = Some(launch.ranks);
    let result = match launch.rank {
        0 => first(device, arguments, &processes),
        _ => other(device, arguments, &processes),
    };
    processes.end(result)
}

/// Refuses several processes, each of which would train alone and write the same folder.
#[cfg(not(feature = "mpi"))]
fn launched(launch: &Launch, _: &Device, _: &mut cli::Train) -> Result<(), Failure> {
    launch.let_the_first_print();
    let Launch { launcher, ranks, .. } = launch;
    Err(Failure::Usage(format!(
        "{launcher} started {ranks} processes, and this ddim was built without MPI: build it with \
         `cargo install --path cli --features mpi`, or train in one process with --ranks {ranks}",
    )))
}

/// Trains beside the first rank, and neither says nor writes anything.
#[cfg(feature = "mpi")]
fn other(device: &Device, arguments: &cli::Train, processes: &Processes) -> Result<(), Failure> {
    // Only the first rank obeys a signal that reaches all: it ends the others.
    listen()?;
    let gpu = device.open_one(processes.adapter())?;
    let mut run = match arguments.resume {
        true => {
            processes.folder_is_ready()?;
            resume(&gpu, arguments, &RunFolder::open(&arguments.out)?)?
        }
        false => begin(&gpu, arguments)?,
    };
    processes.follow(&mut run)
}

/// Trains as the first rank, which alone says and writes something.
fn first(device: &Device, arguments: &cli::Train, others: &impl OtherRanks) -> Result<(), Failure> {
    let out = &arguments.out;
    let dry = arguments.watch.dry_run;
    let _lock = if dry { None } else { Some(Lock::of(out)?) };
    let folder = RunFolder::open(out)?;
    if arguments.resume {
        others.folder_is_ready()?;
    }
    if !arguments.resume && !arguments.existing.overwrite && !dry {
        refuse_other_run(&folder, out, &PIPELINE)?;
        watch::refuse_others(out)?;
    }
    let gpu = device.open_one(others.adapter())?;
    let mut run = match arguments.resume {
        true => resume(&gpu, arguments, &folder)?,
        false => begin(&gpu, arguments)?,
    };
    run.check_rate()?;
    run.notes.check()?;
    if dry {
        run.describe(&gpu);
        return others.beside(device, &mut run, dry::run);
    }
    files::prepare_own_folder(out)?;
    let stop = listen()?;
    run.describe(&gpu);
    let done = arguments.resume.then(|| run.trainer.steps());
    let ended = others.beside(device, &mut run, |run| train(run, out, done, &stop))?;
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

/// Sets a flag at the first ctrl-c, and at SIGUSR1, which mpirun hands on to all of its processes; the second ctrl-c ends
/// the program.
pub fn listen() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            process::exit(130);
        }
    })
    .map_err(|error| Failure::Usage(format!("listening for ctrl-c: {error}")))?;
    #[cfg(unix)]
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::clone(&stop))
        .map_err(|error| Failure::Usage(format!("listening for SIGUSR1: {error}")))?;
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
    let workers = workers(arguments.images.workers);
    let data = notes.open_images(workers)?.with_channels(channels);
    let shape @ [height, width, _] = data.shape();
    let preset = presets::of(shape);
    notes.steps = arguments.steps.unwrap_or(preset.steps);
    let mut options = arguments.options(preset.options, notes.steps)?;
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
    let size = [height, width];
    let unet = UNet::new(config)?.augmented(options.augment.is_some());
    let trainer = Training { unet, scheduler, size }.begin(gpu, options)?;
    Ok(Run::new(trainer, notes, data, workers))
}

/// The U-Net that is `given`, or else the `usual` one, for these images.
fn config(
    arguments: &cli::Train,
    given: Option<UNetConfig>,
    usual: UNetConfig,
    data: &Images,
) -> Result<UNetConfig, Failure> {
    let [height, width, _] = data.shape();
    let mut config = match given {
        None if arguments.loss.unwrap_or_default() == Loss::Simple => usual,
        None => UNetConfig { out_channels: 2 * usual.in_channels, ..usual },
        Some(config) => {
            UNetConfig { sample_size: Some(SampleSize::Sides([height, width])), ..config }
        }
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
    files::write(&out.join("samples.png"), picture.png()?)?;
    samples::film(out)?;
    let loss =
        smoothed(&run.losses.steps).map_or(String::new(), |loss| format!(", loss {loss:.4}"));
    let steps = counted(steps, "step");
    say!("{path}: {steps}{loss}; samples.png shows {count} new images");
    say!("more of them: {ddim} sample --model {word} --out new.png");
    Ok(())
}
