//! `ddim train`: a model from images of the user's own.
use crate::{
    check,
    cli::{self, Device},
    console::say,
    devices::describe,
    draw::{Request, draw},
    failure::Failure,
    files, fit,
    lock::Lock,
    paths,
    pictures::{Picture, columns, comfortable_scale},
    plan::summary,
    presets,
    progress::{Progress, thousands},
    resume::{check_rate, leave, resume},
};
use ddim::{
    data::Dataset,
    diffusion::schedule::{SchedulerConfig, Variance},
    error::TrainingError,
    files::MAX_PIXELS,
    gpu::Gpu,
    models::unet2d::{SampleSize, UNet, UNetConfig},
    pipeline::{Pipeline, RunFolder},
    training::{Loss, Losses, Trainer, TrainingOptions, Validation},
};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::{
    path::{Path, PathBuf},
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Pixels of a picture up to which 64 of them are drawn at the end; of larger ones 16.
const SMALL: usize = 16 * 16;

/// What a run writes beside `training/`.
pub const PIPELINE: [&str; 5] =
    ["model_index.json", "unet", "scheduler", "samples.png", "check.safetensors"];

/// What the checkpoint keeps beside the library's settings.
#[derive(Serialize, Deserialize)]
pub struct Notes {
    #[serde(with = "paths")]
    pub data: PathBuf,
    pub size: Option<usize>,
    #[serde(default)]
    pub max_pixels: Option<u64>,
    pub flip: bool,
    pub valid: Option<f64>,
    pub steps: u32,
    #[serde(default = "save_every")]
    pub save_every: u32,
}

impl Notes {
    pub fn to_json(&self) -> Json {
        serde_json::to_value(self).expect("text, numbers and flags are JSON")
    }
}

/// Steps between checkpoints, where nobody says how many.
fn save_every() -> u32 {
    500
}

/// A run that is about to begin or to go on.
pub struct Run {
    pub trainer: Trainer,
    pub notes: Notes,
    pub data: Dataset,
    pub losses: Losses,
    /// What is not as in the steps before.
    pub differences: Vec<String>,
}

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
    check_rate(&run)?;
    files::prepare_own_folder(out)?;
    let stop = listen()?;
    describe_run(&gpu, &run)?;
    let (training, mut validation) = match run.notes.valid {
        None => (run.data.clone(), None),
        Some(fraction) => {
            let (training, held_out) = run.data.split(fraction, run.trainer.options().seed)?;
            (training, Some(Validation::new(&run.trainer, held_out)?))
        }
    };
    let total = u64::from(run.notes.steps);
    let every = u64::from(run.notes.save_every);
    let mut progress = Progress::new("training", run.trainer.steps(), total, "steps");
    // The step of the last checkpoint of this run.
    let mut kept = arguments.resume.then(|| run.trainer.steps());
    while run.trainer.steps() < total {
        let until = (run.trainer.steps() / every * every + every).min(total);
        let Run { trainer, notes, losses, .. } = &mut run;
        let result =
            fit::train(trainer, &training, (until, notes.flip), losses, &mut progress, &stop);
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
            return leave(&gpu, run, out, kept, &bad);
        }
        result?;
        save(&mut run, out)?;
        kept = Some(run.trainer.steps());
        // Not before there is a checkpoint, however early ctrl-c came.
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    progress.finish();
    finish(&gpu, run, out, &stop)
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
    let max_pixels = arguments.max_pixels;
    let data = Dataset::open_within(source, arguments.size, max_pixels.unwrap_or(MAX_PIXELS))?;
    let preset = presets::of(&data);
    let loss = arguments.loss.unwrap_or_default();
    let mut config = match &arguments.config {
        None if loss == Loss::Simple => preset.unet,
        None => UNetConfig { out_channels: 2 * preset.unet.in_channels, ..preset.unet },
        Some(file) => UNetConfig {
            sample_size: Some(SampleSize::Sides([data.height(), data.width()])),
            ..UNetConfig::read(file)?
        },
    };
    let label_drop = arguments.label_drop.unwrap_or_default();
    if arguments.conditional {
        let Some(classes) = data.classes() else {
            return Err(Failure::Usage("--conditional: the images have no labels".into()));
        };
        // The null label is the last one.
        config.num_class_embeds = Some(classes + usize::from(label_drop > 0.0));
    }
    let learned = config.out_channels == 2 * config.in_channels;
    let scheduler = SchedulerConfig {
        prediction_type: arguments.prediction.unwrap_or_default(),
        variance_type: if learned { Variance::LearnedRange } else { Variance::default() },
        beta_schedule: arguments.schedule.unwrap_or_default(),
        ..SchedulerConfig::default()
    };
    let defaults = preset.options;
    let options = TrainingOptions {
        batch: arguments.batch.unwrap_or(defaults.batch),
        learning_rate: arguments.lr.unwrap_or(defaults.learning_rate),
        warmup: arguments.warmup.unwrap_or(defaults.warmup),
        decay_steps: arguments.decay_steps().unwrap_or(defaults.decay_steps),
        clip: arguments.clip().unwrap_or(defaults.clip),
        ema_decay: arguments.ema.unwrap_or(defaults.ema_decay),
        seed: arguments.seed.unwrap_or(defaults.seed),
        loss,
        min_snr_gamma: arguments.min_snr_gamma,
        timesteps: arguments.timesteps.unwrap_or_default(),
        label_drop,
        ..defaults
    };
    let notes = Notes {
        data: absolute(source),
        size: arguments.size,
        max_pixels,
        flip: arguments.flip,
        valid: arguments.valid,
        steps: arguments.steps.unwrap_or(preset.steps),
        save_every: arguments.save_every.unwrap_or_else(save_every),
    };
    let size = [data.height(), data.width()];
    let trainer = Trainer::new(gpu, UNet::new(config)?, scheduler, size, options)?;
    Ok(Run { trainer, notes, data, losses: Losses::default(), differences: Vec::new() })
}

/// The folder by a name that holds from anywhere.
pub fn absolute(source: &Path) -> PathBuf {
    if source == Path::new("digits") {
        return source.to_owned();
    }
    source.canonicalize().unwrap_or_else(|_| source.to_owned())
}

fn describe_run(gpu: &Gpu, run: &Run) -> Result<(), Failure> {
    let Run { trainer, data, notes, .. } = run;
    say!("{}", describe(gpu));
    let (height, width, channels) = (data.height(), data.width(), data.channels());
    let count = thousands(data.len() as u64);
    say!("data   {}: {count} images of {height}x{width}x{channels}", data.name());
    let config = trainer.model().config();
    let parameters = thousands(trainer.arenas().elements() as u64);
    say!("model  {parameters} parameters, channels {:?}", config.block_out_channels);
    say!("plan   {}", summary(trainer.plan()));
    let TrainingOptions {
        batch, learning_rate, warmup, decay_steps, clip, ema_decay, seed, ..
    } = trainer.options();
    let falling = decay_steps.map_or(String::new(), |end| format!(", none after step {end}"));
    let clip = clip.map_or("none".to_owned(), |norm| norm.to_string());
    let (next, total) = (trainer.steps() + 1, u64::from(notes.steps));
    let steps = match next <= total {
        true => format!("steps {next} to {total}"),
        false => format!("all {total} steps are done"),
    };
    say!(
        "run    {steps}, batch {batch}, learning rate {learning_rate} after {warmup} steps\
         {falling}, \
         clip {clip}, EMA {ema_decay}, seed {seed}",
    );
    if !run.differences.is_empty() {
        say!("but    from here on not with the bits of a run without a break:");
    }
    for difference in &run.differences {
        say!("       {difference}");
    }
    Ok(())
}

pub fn save(run: &mut Run, out: &Path) -> Result<(), Failure> {
    fit::save(&run.losses, &mut run.trainer, out, run.notes.to_json())
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
    let model = Pipeline { unet, scheduler, weights, null_label };
    check::write(gpu, &model, &run.data, out)?;
    let table = model.scheduler.ddim(50.min(model.scheduler.num_train_timesteps), 0.0)?;
    let [height, width, channels] = [run.data.height(), run.data.width(), run.data.channels()];
    let count = if height * width <= SMALL { 64 } else { 16 };
    let seed = run.trainer.options().seed;
    let images = draw(gpu, &model, &Request::new(&table, [height, width], count, seed))?;
    let scale = comfortable_scale(height, width);
    let picture = Picture::grid(&images, [height, width, channels], columns(count), scale)?;
    files::write(&out.join("samples.png"), picture.png()?)?;
    let loss = fit::recent(&run.losses).map_or(String::new(), |loss| format!(", loss {loss:.4}"));
    say!("{path}: {steps} steps{loss}; samples.png shows {count} new images");
    say!("more of them: ddim sample --model {path} --out new.png");
    Ok(())
}
