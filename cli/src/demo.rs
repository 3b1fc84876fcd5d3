//! `ddim demo`: from data to new digits and a report, in a few minutes.
use crate::{
    check,
    cli::{self, Device},
    console::say,
    devices::describe,
    draw::{Request, sampler},
    failure::Failure,
    files, fit,
    lock::Lock,
    pictures::Picture,
    plan::summary,
    presets,
    progress::{Progress, clock, thousands},
    report::{self, Distances, Numbers, Pictures},
    train,
};
use ddim::{
    data::{self, Dataset, Moments},
    diffusion::schedule::SchedulerConfig,
    files::read_text,
    gpu::Gpu,
    models::unet2d::UNet,
    pipeline::{Pipeline, RunFolder},
    training::{Losses, Trainer, TrainingOptions},
};
use serde_json::{Value as Json, json};
use std::{path::Path, sync::atomic::AtomicBool, time::Instant};

/// The note by which a demo knows a pipeline of its own; a run that goes on drops it.
const DEMO: &str = "demo";

/// What a demo writes beside its pipeline.
const WRITTEN: [&str; 5] =
    ["numbers.json", "samples.png", "denoising.png", "loss.svg", "report.html"];

/// Digits are this many pixels high and wide.
const SIDE: usize = 8;

/// Sampling steps, of DDIM with eta 0.
const SAMPLING_STEPS: usize = 50;

/// Digits in the picture of samples.
const SHOWN: usize = 64;

/// Digits in the picture of denoising, and sampling steps between its columns.
const STRIPS: usize = 8;
const STRIP_EVERY: usize = 5;

/// Digits sampled at a time.
const BATCH: usize = 200;

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
    let preset = presets::digits();
    let options = TrainingOptions { seed: arguments.seed, ..preset.options };
    let scheduler = SchedulerConfig::default();
    let unet = UNet::new(preset.unet)?;
    let mut trainer = Trainer::new(&gpu, unet.clone(), scheduler.clone(), [SIDE; 2], options)?;
    let parameters = trainer.arenas().elements();
    let plan = summary(trainer.plan());
    say!("device  {}", describe(&gpu));
    say!("data    {} handwritten digits, {SIDE}x{SIDE}", thousands(digits.len() as u64));
    say!("model   U-Net of {} parameters", thousands(parameters as u64));
    say!("plan    {plan} for a training step of {}", trainer.options().batch);

    let steps = u64::from(arguments.steps);
    let mut losses = Losses::default();
    let mut progress = Progress::new("training", 0, steps, "steps");
    let never = AtomicBool::new(false);
    let began = Instant::now();
    fit::train(&mut trainer, &digits, (steps, false), &mut losses, &mut progress, &never)?;
    let training_seconds = began.elapsed().as_secs_f64();
    progress.finish();
    let rate = steps as f64 / training_seconds;
    let loss = fit::recent(&losses).unwrap_or(f32::NAN);
    let taken = clock(training_seconds);
    say!("trained {steps} steps in {taken} ({rate:.1} a second), loss {loss:.4}");
    let notes = json!({
        DEMO: true, "data": "digits", "size": null, "flip": false, "valid": null, "steps": arguments.steps,
    });
    fit::save(&losses, &mut trainer, &pipeline, notes)?;

    let weights = trainer.averaged_weights()?;
    let model = Pipeline { unet, scheduler, weights, null_label: None };
    check::write(&gpu, &model, &digits, &pipeline)?;
    let began = Instant::now();
    let drawn = draw(&gpu, &model, digits.len(), arguments.seed)?;
    let sampling_seconds = began.elapsed().as_secs_f64();
    let (count, taken) = (thousands(digits.len() as u64), clock(sampling_seconds));
    say!("sampled {count} digits, {SAMPLING_STEPS} steps of DDIM, in {taken}");

    let distances = distances(&digits, &drawn, arguments.seed)?;
    let elements = SIDE * SIDE;
    let shape = [SIDE, SIDE, 1];
    let some = |images: &[f32]| Picture::grid(&images[..SHOWN * elements], shape, 8, SCALE)?.png();
    let pictures = Pictures {
        samples: some(&drawn.images)?,
        real: some(&digits.images())?,
        denoising: Picture::grid(&drawn.strips, shape, SAMPLING_STEPS / STRIP_EVERY + 1, SCALE)?
            .png()?,
        loss: fit::chart(&losses)?,
    };
    let numbers = Numbers {
        software: "ddim",
        version: env!("CARGO_PKG_VERSION"),
        device: describe(&gpu),
        parameters,
        options: trainer.options().clone(),
        steps,
        sampling_steps: SAMPLING_STEPS,
        samples: digits.len(),
        plan,
        plan_hash: format!("{:016x}", trainer.plan().hash()),
        loss,
        training_seconds,
        steps_per_second: rate,
        sampling_seconds,
        seconds: start.elapsed().as_secs_f64(),
        frechet_distance: distances,
    };
    // First that by which the others are known.
    files::write(&folder.join("numbers.json"), numbers.json())?;
    files::write(&folder.join("samples.png"), &pictures.samples)?;
    files::write(&folder.join("denoising.png"), &pictures.denoising)?;
    files::write(&folder.join("loss.svg"), &pictures.loss)?;
    files::write(&folder.join("report.html"), report::page(&numbers, &pictures))?;
    say!("Frechet distance to the real digits, over their pixels");
    for (what, distance) in numbers.frechet_distance.rows() {
        say!("  {distance:7.3}  {what}");
    }
    let (path, taken) = (folder.join("report.html"), clock(numbers.seconds));
    say!("{} shows it all; {taken} altogether", path.display());
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

/// Digits that the model drew, the noise they came from, and the way of a few from one to the
/// other.
struct Drawn {
    images: Vec<f32>,
    noise: Vec<f32>,
    strips: Vec<f32>,
}

fn draw(gpu: &Gpu, model: &Pipeline, count: usize, seed: u64) -> Result<Drawn, Failure> {
    let table = &model.scheduler.ddim(SAMPLING_STEPS, 0.0)?;
    let request = Request { batch: Some(BATCH), ..Request::new(table, [SIDE; 2], count, seed) };
    let (mut sampler, batch) = sampler(gpu, model, &request)?;
    let elements = SIDE * SIDE;
    let mut progress = Progress::new("sampling", 0, count as u64, "digits");
    let (mut images, mut noise, mut columns) = (Vec::new(), Vec::new(), Vec::new());
    for first in (0..count).step_by(batch) {
        sampler.begin(first as u32)?;
        noise.extend(sampler.images()?);
        if first == 0 {
            columns.push(sampler.images()?);
            for _ in 0..SAMPLING_STEPS / STRIP_EVERY {
                sampler.advance(STRIP_EVERY)?;
                columns.push(sampler.images()?);
            }
        } else {
            sampler.advance(SAMPLING_STEPS)?;
        }
        images.extend(sampler.images()?);
        progress.update((first + batch).min(count) as u64, "");
    }
    progress.finish();
    images.truncate(count * elements);
    noise.truncate(count * elements);
    let strips = (0..STRIPS)
        .flat_map(|image| columns.iter().flat_map(move |x| &x[image * elements..][..elements]))
        .copied()
        .collect();
    Ok(Drawn { images, noise, strips })
}

fn distances(digits: &Dataset, drawn: &Drawn, seed: u64) -> Result<Distances, Failure> {
    let real = Moments::of(digits)?;
    let to_real = |images: &[f32]| -> Result<f64, Failure> {
        Ok(Moments::of_images(images, SIDE * SIDE)?.distance(&real))
    };
    let (one, other) = digits.split(0.5, seed)?;
    Ok(Distances {
        samples: to_real(&drawn.images)?,
        halves: Moments::of(&one)?.distance(&Moments::of(&other)?),
        noise: to_real(&drawn.noise)?,
    })
}
