//! `ddim experiments`: the tables and figures of the DDIM paper, on MNIST.
mod classifier;
mod figures;
mod findings;
mod jobs;
mod model;
mod page;
mod record;
mod row;
mod runner;
#[cfg(test)]
mod tests;
mod timing;

use crate::{
    cli::{self, Device},
    console::say,
    devices::describe,
    failure::Failure,
    files,
    lock::Lock,
    presets::{self, Preset},
    progress::{Progress, clock, thousands},
};
use ddim::{classifier::Classifier, data::Dataset};
use jobs::{Experiment, Figure, Job, Sizes};
use model::Source;
use record::{Record, bind};
use runner::Runner;
use serde_json::{Value as Json, json};
use std::{path::Path, time::Instant};

/// The file of the settings that a folder is bound to.
const SETTINGS: &str = "settings.json";

/// Repeats the experiments of the paper.
pub fn run(device: &Device, arguments: &cli::Experiments) -> Result<(), Failure> {
    run_all(device, arguments, presets::mnist(), &Sizes::of_the_paper())
}

/// Repeats the experiments with a model and images of these sizes.
fn run_all(
    device: &Device,
    arguments: &cli::Experiments,
    preset: Preset,
    sizes: &Sizes,
) -> Result<(), Failure> {
    let start = Instant::now();
    let (training, test) = Dataset::open_mnist(&arguments.data)?;
    let source = Source::new(arguments, preset);
    let model = source.identity()?;
    let (folder, seed) = (&arguments.out, arguments.seed);
    let _lock = Lock::of(folder)?;
    claim(arguments)?;
    let gpu = device.open()?;
    let settings = json!({
        "device": describe(&gpu),
        "data": {"training": training.len(), "test": test.len()},
        "model": model,
        "classifier": Classifier::options(seed),
        "sizes": sizes,
        "seed": seed,
    });
    settle(arguments, &settings)?;
    let [learnt, tested] = [&training, &test].map(|data| thousands(data.len() as u64));
    say!("device  {}", describe(&gpu));
    say!("data    {learnt} images to train on, {tested} to test");

    let mut record = Record::open(folder.join("results.csv"))?;
    let steps = sizes.classifier_steps;
    let classifier = classifier::open(&gpu, folder, [&training, &test], steps, seed, &mut record)?;
    let (pipeline, provenance) = source.open(&gpu, &training)?;
    let page = page::Page {
        folder,
        sizes,
        source: &source,
        provenance,
        device: describe(&gpu),
        classes: classifier.network().classes,
        real: training.len(),
        settings: table(&settings),
    };
    let missing = missing(&page, &record, arguments.max_steps);
    let total: usize = missing.iter().map(|job| job.work).sum();
    let progress = Progress::new("experiments", 0, total as u64, "image steps");
    let sets = [&training, &test];
    let mut runner = Runner::new(&gpu, &pipeline, classifier, sets, sizes, seed, progress);
    for job in missing {
        finish(&job, &mut runner, &mut record, folder)?;
        page.write(&record)?;
    }
    page.write(&record)?;
    drop(runner.progress);
    for finding in findings::all(&record, sizes, page.classes) {
        say!("{finding}");
    }
    let (path, taken) = (folder.join("experiments.html"), clock(start.elapsed().as_secs_f64()));
    say!("{} shows it all; {taken} in this run", path.display());
    Ok(())
}

/// Refuses a folder in which files of others are in the way.
fn claim(arguments: &cli::Experiments) -> Result<(), Failure> {
    let folder = &arguments.out;
    if !arguments.existing.overwrite && !folder.join(SETTINGS).exists() {
        let written: Vec<_> = written().chain(["model", classifier::TRAINING]).collect();
        files::refuse_taken(folder, &written)?;
    }
    files::prepare_own_folder(folder)
}

/// Binds the folder to these settings. Results that were made with the same are gone on with, never
/// removed; others only if they may be overwritten.
fn settle(arguments: &cli::Experiments, settings: &Json) -> Result<(), Failure> {
    let path = arguments.out.join(SETTINGS);
    if arguments.existing.overwrite && !(path.exists() && bind(&path, settings).is_ok()) {
        clear(&arguments.out)?;
    }
    bind(&path, settings)
}

/// The jobs of at most so many sampling steps that are still to do.
fn missing(page: &page::Page, record: &Record, max_steps: usize) -> Vec<Job> {
    let mut jobs = Job::all(page.sizes, max_steps);
    let all = jobs.len();
    jobs.retain(|job| !is_done(job, record, page.folder, page.classes));
    let work: usize = jobs.iter().map(|job| job.work).sum();
    say!("{} of {all} jobs to do, {} image steps", jobs.len(), thousands(work as u64));
    jobs
}

/// The files of an experiment.
fn written() -> impl Iterator<Item = &'static str> {
    let files = [SETTINGS, "results.csv", classifier::FILE, "experiments.html"];
    files.into_iter().chain(Figure::ALL.map(Figure::file))
}

/// Removes what would be gone on with, so that an experiment begins anew.
fn clear(folder: &Path) -> Result<(), Failure> {
    let mut names = written().chain(["model/training", classifier::TRAINING]);
    names.try_for_each(|name| files::remove(&folder.join(name)))
}

/// Settings as rows of a table.
fn table(settings: &Json) -> Vec<(String, String)> {
    let keys = settings.as_object().into_iter().flatten();
    let plain = |value: &Json| value.as_str().map_or(value.to_string(), str::to_owned);
    keys.map(|(key, value)| (key.clone(), plain(value))).collect()
}

/// Whether all that a job leaves is there.
fn is_done(job: &Job, record: &Record, folder: &Path, classes: usize) -> bool {
    let (experiment, settings) = job.rows(classes);
    match job.experiment {
        Experiment::Picture(figure) => folder.join(figure.file()).exists(),
        _ => settings.iter().all(|of| record.find(experiment, of, job.steps).is_some()),
    }
}

/// Does a job and keeps what it found.
fn finish(
    job: &Job,
    runner: &mut Runner,
    record: &mut Record,
    folder: &Path,
) -> Result<(), Failure> {
    if let Experiment::Picture(figure) = job.experiment {
        let picture = figure.make(runner)?;
        files::write(&folder.join(figure.file()), picture)?;
        runner.progress.line(&job.to_string());
        return Ok(());
    }
    let rows = runner.measure(job)?;
    let first = rows.first().map_or(f64::NAN, |row| row.value);
    let seconds = rows.first().map_or(0.0, |row| row.seconds);
    record.append(rows)?;
    runner.progress.line(&format!("{job}: {first:.5} ({})", clock(seconds)));
    Ok(())
}
