//! `ddim demo`: from data to new digits and a report, in a few minutes.
use crate::{
    check,
    cli::{self, Device},
    console::say,
    denoising::{Moment, moments},
    devices::describe,
    failure::Failure,
    files,
    lock::Lock,
    plan::summary,
    plot, presets,
    progress::{Progress, clock, thousands},
    report::{self, Chart, Distances, Numbers, Pictures},
    sampling::{strips, watched},
    shell,
    smoothing::smoothed,
    train, training,
};
use ddim::{
    data::{self, Dataset, Moments},
    files::read_text,
    gpu::Gpu,
    models::unet2d::UNet,
    pictures::Picture,
    pipeline::{Pipeline, RunFolder},
    sampling::SamplingRequest,
    training::{Losses, Trainer, TrainingOptions},
};
use serde_json::{Value as Json, json};
use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

/// The note by which a demo knows a pipeline of its own; a run that goes on drops it.
const DEMO: &str = "demo";

/// What a demo writes beside its pipeline, in this order.
const WRITTEN: [&str; 5] =
    ["numbers.json", "samples.png", "denoising.png", "loss.svg", "report.html"];

/// Digits are this many pixels high and wide.
const SIDE: usize = 8;

/// Sampling steps, of DDIM with eta 0.
const SAMPLING_STEPS: usize = 50;

/// Digits in the picture of samples.
const SHOWN: usize = 64;

/// Digits in the picture of denoising, and its columns.
const STRIPS: usize = 8;
const COLUMNS: usize = 11;

/// Digits sampled at a time.
const BATCH: usize = 200;

/// Steps after which the whole time is foretold, and the share of a training step that an evaluation of
/// the network takes, image for image.
const FORECAST: u64 = 10;
const EVALUATION: f64 = 0.3;

/// How much a pixel is enlarged.
const SCALE: usize = 8;

/// Trains, samples, measures and reports.
pub fn run(device: &Device, arguments: &cli::Demo) -> Result<(), Failure> {
    let start = Instant::now();
    let folder = &arguments.out;
    let pipeline = folder.join("pipeline");
    let _lock = Lock::of(&pipeline)?;
    if !arguments.existing.overwrite {
        refuse_foreign(folder, &pipeline)?;
    }
    files::prepare_own_folder(folder)?;
    let gpu = device.open()?;
    let digits = data::digits();
    let trained = train(&gpu, &digits, &pipeline, arguments)?;
    let began = Instant::now();
    let samples = arguments.samples as usize;
    let sampled = sample(&gpu, &trained.model, samples, arguments.seed)?;
    let sampling_seconds = began.elapsed().as_secs_f64();
    let (count, taken) = (thousands(samples as u64), clock(sampling_seconds));
    say!("sampled {count} digits, {SAMPLING_STEPS} steps of DDIM, in {taken}");

    let Trained { trainer, losses, seconds: training_seconds, .. } = &trained;
    let steps = trainer.steps();
    let numbers = Numbers {
        software: "ddim",
        version: env!("CARGO_PKG_VERSION"),
        device: describe(&gpu),
        parameters: trainer.arenas().elements(),
        options: trainer.options().clone(),
        steps,
        sampling_steps: SAMPLING_STEPS,
        samples,
        plan: summary(trainer.plan()),
        plan_hash: format!("{:016x}", trainer.plan().hash()),
        loss: smoothed(&losses.steps).unwrap_or(f32::NAN),
        training_seconds: *training_seconds,
        steps_per_second: steps as f64 / training_seconds,
        sampling_seconds,
        seconds: start.elapsed().as_secs_f64(),
        frechet_distance: distances(&digits, &sampled, arguments.seed)?,
    };
    write(folder, &pipeline, &numbers, &pictures(&digits, &sampled, losses)?)?;
    say!("Frechet distance to the real digits, over their pixels");
    for (what, distance) in numbers.frechet_distance.rows() {
        say!("  {distance:7.3}  {what}");
    }
    let (path, taken) = (folder.join("report.html"), clock(numbers.seconds));
    say!("{} shows it all; {taken} altogether", path.display());
    for (what, line) in shell::next(&pipeline, steps) {
        say!("{what}:\n  {line}");
    }
    Ok(())
}

/// The model, and what its training leaves.
struct Trained {
    trainer: Trainer,
    losses: Losses,
    seconds: f64,
    model: Pipeline,
}

/// Trains the model and saves it as a pipeline.
fn train(
    gpu: &Gpu,
    digits: &Dataset,
    pipeline: &Path,
    arguments: &cli::Demo,
) -> Result<Trained, Failure> {
    let preset = presets::digits();
    let decay_steps = Some(arguments.steps);
    let options = TrainingOptions { seed: arguments.seed, decay_steps, ..preset.options };
    let scheduler = presets::scheduler();
    let unet = UNet::new(preset.unet)?;
    let mut trainer = Trainer::new(gpu, unet.clone(), scheduler.clone(), [SIDE; 2], options)?;
    let parameters = thousands(trainer.arenas().elements() as u64);
    let (plan, batch) = (summary(trainer.plan()), trainer.options().batch);
    say!("device  {}", describe(gpu));
    say!("data    {} handwritten digits, {SIDE}x{SIDE}", thousands(digits.len() as u64));
    say!("model   U-Net of {parameters} parameters");
    say!("plan    {plan} for a training step of {batch}");

    let steps = u64::from(arguments.steps);
    let mut losses = Losses::default();
    let mut progress = Progress::new("training", 0, steps, "steps");
    let never = AtomicBool::new(false);
    let began = Instant::now();
    for until in [FORECAST.min(steps), steps] {
        training::train(&mut trainer, digits, (until, false), &mut losses, &mut progress, &never)?;
        if until == FORECAST
            && let Some(rate) = progress.rate()
        {
            let evaluations = u64::from(arguments.samples) * SAMPLING_STEPS as u64;
            let sampling = EVALUATION * evaluations as f64 / batch as f64;
            let left = ((steps - FORECAST) as f64 + sampling) / rate;
            let all = clock(began.elapsed().as_secs_f64() + left);
            progress.line(&format!("about {all} in all: the first {FORECAST} steps tell"));
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    drop(progress);
    let (rate, taken) = (steps as f64 / seconds, clock(seconds));
    let loss = smoothed(&losses.steps).unwrap_or(f32::NAN);
    say!("trained {steps} steps in {taken} ({rate:.1} a second), loss {loss:.4}");
    let notes = json!({
        DEMO: true, "data": "digits", "size": null, "flip": false, "valid": null, "steps": arguments.steps,
    });
    training::save(&losses, &mut trainer, pipeline, notes, &[])?;
    let weights = Arc::new(trainer.averaged_weights()?);
    let model = Pipeline { unet, scheduler, weights, null_label: None, class_names: Vec::new() };
    check::write(gpu, &model, &digits.clone().into(), pipeline)?;
    Ok(Trained { trainer, losses, seconds, model })
}

fn pictures(digits: &Dataset, sampled: &Sampled, losses: &Losses) -> Result<Pictures, Failure> {
    let shape = [SIDE, SIDE, 1];
    let some =
        |images: &[f32]| Picture::grid(&images[..SHOWN * SIDE * SIDE], shape, 8, SCALE)?.png();
    let denoising = strips(&sampled.stages, STRIPS, SIDE * SIDE);
    Ok(Pictures {
        samples: some(&sampled.images)?,
        real: some(&digits.images())?,
        denoising: Picture::grid(&denoising, shape, sampled.moments.len(), SCALE)?.png()?,
        moments: sampled.moments.clone(),
        loss: Chart::new(|form| plot::losses(losses, form))?,
    })
}

/// Writes the files, first that by which the others are known.
fn write(
    folder: &Path,
    pipeline: &Path,
    numbers: &Numbers,
    pictures: &Pictures,
) -> Result<(), Failure> {
    let next = shell::next_from_anywhere(pipeline, numbers.steps);
    let (json, page) = (numbers.json(), report::page(numbers, pictures, &next));
    let contents: [&[u8]; 5] = [
        json.as_bytes(),
        &pictures.samples,
        &pictures.denoising,
        pictures.loss.wide.as_bytes(),
        page.as_bytes(),
    ];
    for (name, bytes) in WRITTEN.into_iter().zip(contents) {
        files::write(&folder.join(name), bytes)?;
    }
    Ok(())
}

/// Refuses folders with files that no demo wrote, and a pipeline that is no demo's any more: it was
/// trained on, or belongs to another run.
fn refuse_foreign(folder: &Path, pipeline: &Path) -> Result<(), Failure> {
    if !files::is_ours(&folder.join("numbers.json"), files::JSON) {
        files::refuse_taken(folder, &WRITTEN)?;
    }
    let settings = RunFolder::open(pipeline)?.path("training/settings.json");
    if !settings.exists() {
        return files::refuse_taken(pipeline, &train::PIPELINE);
    }
    let text = read_text(&settings).map_err(|error| Failure::file(&settings, error))?;
    let settings: Json = serde_json::from_str(&text).unwrap_or_default();
    match settings["notes"][DEMO].as_bool() {
        Some(true) => Ok(()),
        _ => {
            let text = "holds a run that is no demo, or that was trained on: choose another \
                        folder, or let it be replaced by --overwrite";
            Err(Failure::file(pipeline, text))
        }
    }
}

/// Digits that the model sampled, the noise they came from, and the first of them at moments between.
struct Sampled {
    images: Vec<f32>,
    noise: Vec<f32>,
    moments: Vec<Moment>,
    stages: Vec<Vec<f32>>,
}

fn sample(gpu: &Gpu, model: &Pipeline, count: usize, seed: u64) -> Result<Sampled, Failure> {
    let table = &model.scheduler.ddim(SAMPLING_STEPS, 0.0)?;
    let request = SamplingRequest {
        batch: Some(BATCH),
        ..SamplingRequest::new(table, [SIDE; 2], count, seed)
    };
    let mut sampling = request.open(gpu, model)?;
    let noise = sampling.noise()?;
    let mut stages = Vec::new();
    let moments = moments(table, &model.scheduler.schedule()?, COLUMNS);
    let stops: Vec<usize> = moments.iter().map(|moment| moment.steps).collect();
    let images = watched(&mut sampling, &stops, |sampler, reached| {
        if reached.first == 0 {
            stages.push(sampler.images()?);
        }
        Ok(())
    })?;
    Ok(Sampled { images, noise, moments, stages })
}

fn distances(digits: &Dataset, sampled: &Sampled, seed: u64) -> Result<Distances, Failure> {
    let real = Moments::of(digits)?;
    let to_real = |images: &[f32]| -> Result<f64, Failure> {
        Ok(Moments::of_images(images, SIDE * SIDE)?.distance(&real))
    };
    let (one, other) = digits.split(0.5, seed)?;
    Ok(Distances {
        samples: to_real(&sampled.images)?,
        halves: Moments::of(&one)?.distance(&Moments::of(&other)?),
        noise: to_real(&sampled.noise)?,
    })
}
