//! `ddim experiments`: the tables and figures of the DDIM paper, on MNIST.
mod cells;
mod findings;
mod judge;
mod laboratory;
mod model;
mod page;
mod record;
mod row;
mod show;
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
use cells::{Cell, Show, Sizes};
use ddim::{classifier::Classifier, data::Dataset};
use laboratory::Laboratory;
use model::Source;
use record::{Record, bind};
use serde_json::{Value as Json, json};
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Instant,
};

/// Repeats the experiments of the paper.
pub fn run(device: &Device, arguments: &cli::Experiments) -> Result<(), Failure> {
    conduct(device, arguments, presets::mnist(), &Sizes::of_the_paper())
}

/// Repeats the experiments with a model and images of these sizes.
fn conduct(
    device: &Device,
    arguments: &cli::Experiments,
    preset: Preset,
    sizes: &Sizes,
) -> Result<(), Failure> {
    let start = Instant::now();
    let (training, test) = Dataset::open_mnist(&arguments.data)?;
    let source = Source::new(arguments, preset);
    let model = source.identity()?;
    let folder = &arguments.out;
    let _lock = Lock::of(folder)?;
    let settled = folder.join("settings.json");
    let overwrite = arguments.existing.overwrite;
    if !overwrite && !settled.exists() {
        let written: Vec<_> = written().chain(["model", judge::TRAINING]).collect();
        files::refuse_taken(folder, &written)?;
    }
    files::prepare_own_folder(folder)?;
    let gpu = device.open()?;
    let settings = json!({
        "device": describe(&gpu),
        "data": {"training": training.len(), "test": test.len()},
        "model": model,
        "classifier": Classifier::options(arguments.seed),
        "sizes": sizes,
        "seed": arguments.seed,
    });
    // Results that were made with the same settings are gone on with, never removed.
    if overwrite && !(settled.exists() && bind(&settled, &settings).is_ok()) {
        clear(folder)?;
    }
    bind(&settled, &settings)?;
    say!("device  {}", describe(&gpu));
    let count = |data: &Dataset| thousands(data.len() as u64);
    say!("data    {} images to train on, {} to test", count(&training), count(&test));

    let mut record = Record::open(folder.join("results.csv"))?;
    let (steps, seed) = (sizes.classifier_steps, arguments.seed);
    let classifier = judge::open(&gpu, folder, [&training, &test], steps, seed, &mut record)?;
    let (pipeline, story) = source.open(&gpu, &training)?;

    let cells = Cell::all(sizes, arguments.steps);
    let classes = classifier.network().classes;
    let missing: Vec<&Cell> =
        cells.iter().filter(|cell| !is_done(cell, &record, folder, classes)).collect();
    let total: usize = missing.iter().map(|cell| cell.work()).sum();
    let (left, all) = (missing.len(), cells.len());
    say!("{left} of {all} cells to do, {} image steps", thousands(total as u64));
    let mut laboratory = Laboratory {
        gpu: &gpu,
        pipeline: &pipeline,
        classifier,
        training: &training,
        test: &test,
        sizes,
        seed,
        progress: Progress::new("experiments", 0, total as u64, "image steps"),
        done: 0,
        real: None,
    };
    let page = page::Page {
        folder,
        sizes,
        source: &source,
        story,
        device: describe(&gpu),
        classes,
        real: training.len(),
        settings: table(&settings),
    };
    for cell in missing {
        finish(cell, &mut laboratory, &mut record, folder)?;
        page.write(&record)?;
    }
    page.write(&record)?;
    let Laboratory { progress, .. } = laboratory;
    progress.finish();
    for finding in findings::all(&record, sizes, classes) {
        say!("{finding}");
    }
    let (path, taken) = (folder.join("experiments.html"), clock(start.elapsed().as_secs_f64()));
    say!("{} shows it all; {taken} in this run", path.display());
    Ok(())
}

/// The files of an experiment.
fn written() -> impl Iterator<Item = &'static str> {
    let files = ["settings.json", "results.csv", judge::FILE, "experiments.html"];
    files.into_iter().chain(Show::ALL.map(Show::file))
}

/// Removes what would be gone on with, so that an experiment begins anew.
fn clear(folder: &Path) -> Result<(), Failure> {
    let files = written().map(|name| (folder.join(name), fs::remove_file as fn(_) -> _));
    let folders = ["model/training", judge::TRAINING];
    let folders = folders
        .map(|name| (folder.join(name), fs::remove_dir_all as fn(PathBuf) -> std::io::Result<()>));
    for (path, remove) in files.chain(folders) {
        match remove(path.clone()) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Failure::file(path, error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Settings as rows of a table.
fn table(settings: &Json) -> Vec<(String, String)> {
    let keys = settings.as_object().into_iter().flatten();
    let plain = |value: &Json| value.as_str().map_or(value.to_string(), str::to_owned);
    keys.map(|(key, value)| (key.clone(), plain(value))).collect()
}

/// Whether all that a cell leaves is there.
fn is_done(cell: &Cell, record: &Record, folder: &Path, classes: usize) -> bool {
    let (experiment, settings) = cell.rows(classes);
    match cell {
        Cell::Picture { show, .. } => folder.join(show.file()).exists(),
        _ => settings.iter().all(|of| record.find(experiment, of, cell.steps()).is_some()),
    }
}

/// Does a cell and keeps what it found.
fn finish(
    cell: &Cell,
    laboratory: &mut Laboratory,
    record: &mut Record,
    folder: &Path,
) -> Result<(), Failure> {
    if let Cell::Picture { show, .. } = cell {
        let picture = show.draw(laboratory)?;
        files::write(&folder.join(show.file()), picture)?;
        laboratory.progress.line(&cell.to_string());
        return Ok(());
    }
    let rows = laboratory.measure(cell)?;
    let first = rows.first().map_or(f64::NAN, |row| row.value);
    let seconds = rows.first().map_or(0.0, |row| row.seconds);
    record.append(rows)?;
    laboratory.progress.line(&format!("{cell}: {first:.5} ({})", clock(seconds)));
    Ok(())
}
