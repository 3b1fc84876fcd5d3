//! A run that can be watched: `metrics.csv` and event files as steps are done, and a page that shows them.
use super::{events::Events, live, run::Run};
use crate::{failure::Failure, files, progress::Progress, training::saw};
use ddim::training::{Losses, Metrics, TrainingOptions};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

/// What a run writes beside its checkpoints, with the signs by which it knows its own.
const WRITTEN: [(&str, &str); 2] = [(METRICS, HEADER), (live::PAGE, live::SIGN)];

const METRICS: &str = "metrics.csv";

/// The folder of event files.
const EVENTS: &str = "tensorboard";

/// The first line of the file. A row is of a step, or, with its last number alone, of a measurement after it.
const HEADER: &str =
    "step,loss,gradient_norm,learning_rate,images_per_second,loss_scale,held_out_loss";

/// Largest file that is read again, in bytes.
const LARGEST: u64 = 4 << 30;

/// Time between two pages.
const BETWEEN: Duration = Duration::from_secs(10);

/// Refuses a folder with files of these names that no run wrote. A run that was killed before its first checkpoint
/// leaves its own.
pub fn refuse_others(out: &Path) -> Result<(), Failure> {
    let other = |(name, sign): &&(&str, &str)| {
        let path = out.join(name);
        path.exists() && !files::is_ours(&path, sign)
    };
    match WRITTEN.iter().find(other) {
        Some((name, _)) => files::refuse_taken(out, &[name]),
        None => Ok(()),
    }
}

/// Removes the files of a run that ended before its first checkpoint.
pub fn remove(out: &Path) -> Result<(), Failure> {
    let mut names = WRITTEN.iter().map(|(name, _)| *name).chain([EVENTS]);
    names.try_for_each(|name| files::remove(&out.join(name)))
}

/// The files of a run that are written as it goes.
pub struct Watch {
    out: PathBuf,
    options: TrainingOptions,
    metrics: Option<BufWriter<File>>,
    events: Option<Events>,
    /// When metrics were heard last.
    heard: Instant,
    /// When the page was written.
    shown: Option<Instant>,
    /// Whether it can be written.
    shows: bool,
    /// Images a second.
    pub speed: Option<f64>,
}

impl Watch {
    /// Begins, or goes on with, the files of a run.
    pub fn begin(run: &Run, out: &Path) -> Result<Self, Failure> {
        let done = run.trainer.steps();
        let metrics = open_metrics(&out.join(METRICS), done)?;
        let folder = out.join(EVENTS);
        let events = run.notes.tensorboard.then(|| Events::begin(&folder, done));
        let events = events.transpose().map_err(|error| Failure::file(&folder, error))?;
        Ok(Self {
            out: out.to_owned(),
            options: run.trainer.options().clone(),
            metrics: Some(metrics),
            events,
            heard: Instant::now(),
            shown: None,
            shows: true,
            speed: None,
        })
    }

    /// Time that passes until the next call is no step's.
    pub fn pause(&mut self) {
        self.heard = Instant::now();
    }

    /// Notes steps. No training ends because these files cannot be written: what is missing then is said once.
    fn steps(&mut self, metrics: &[Metrics]) {
        // All may have been skipped: then the next ones take their time too.
        if metrics.is_empty() {
            return;
        }
        let seconds = self.heard.elapsed().as_secs_f64();
        self.heard = Instant::now();
        let images = (metrics.len() * self.options.images()) as f64;
        let speed = images / seconds.max(1e-9);
        self.speed = Some(speed);
        let rows = metrics.iter().map(|of| {
            let rate = self.options.rate(of.step - 1);
            let Metrics { step, loss, gradient_norm, loss_scale } = of;
            let scale = loss_scale.map_or(String::new(), |scale| scale.to_string());
            format!("{step},{loss},{gradient_norm},{rate},{speed:.1},{scale},\n")
        });
        let rows: String = rows.collect();
        self.append(&rows);
        let options = self.options.clone();
        self.event(|events| {
            for of in metrics {
                let mut numbers = vec![
                    ("loss", f64::from(of.loss)),
                    ("gradient_norm", f64::from(of.gradient_norm)),
                    ("learning_rate", options.rate(of.step - 1)),
                    ("images_per_second", speed),
                ];
                numbers.extend(of.loss_scale.map(|scale| ("loss_scale", scale.into())));
                events.scalars(of.step, &numbers)?;
            }
            Ok(())
        });
    }

    /// Notes a loss on held-out images.
    pub fn held_out(&mut self, step: u64, loss: f32) {
        self.append(&format!("{step},,,,,,{loss}\n"));
        self.event(|events| events.scalars(step, &[("held_out_loss", loss.into())]));
    }

    /// Notes a picture of samples.
    pub fn samples(&mut self, step: u64, png: &[u8], size: [usize; 2]) {
        self.event(|events| events.picture(step, "samples", png, size));
    }

    fn append(&mut self, rows: &str) {
        let Some(file) = &mut self.metrics else { return };
        if let Err(error) = file.write_all(rows.as_bytes()).and_then(|()| file.flush()) {
            log::warn!("{}: {error}; it ends here", self.out.join(METRICS).display());
            self.metrics = None;
        }
    }

    fn event(&mut self, write: impl FnOnce(&mut Events) -> io::Result<()>) {
        let Some(events) = &mut self.events else { return };
        if let Err(error) = write(events).and_then(|()| events.flush()) {
            log::warn!("{}: {error}; it ends here", events.path.display());
            self.events = None;
        }
    }

    /// Is it time for a page?
    fn is_due(&self) -> bool {
        self.shown.is_none_or(|shown| shown.elapsed() >= BETWEEN)
    }

    /// Writes the page of a run that goes on, or of one that has ended.
    pub fn show(&mut self, run: &live::Shown, losses: &Losses, ended: Option<&str>) {
        self.shown = Some(Instant::now());
        if !self.shows {
            return;
        }
        let path = self.out.join(live::PAGE);
        // Half a page asks for itself again too.
        let written = live::page(run, losses, self.speed, ended)
            .and_then(|page| fs::write(&path, page).map_err(|error| Failure::file(&path, error)));
        if let Err(failure) = written {
            log::warn!("{}; it stays as it is", failure.line());
            self.shows = false;
        }
    }
}

/// Notes the metrics of steps, and says how far a training is; it ends when `stop` is set.
pub fn listener(
    watch: &mut Watch,
    shown: &live::Shown,
    losses: &mut Losses,
    progress: &mut Progress,
    stop: &AtomicBool,
) -> impl FnMut(&[Metrics]) -> ControlFlow<()> {
    move |metrics| {
        watch.steps(metrics);
        let flow = saw(metrics, losses, progress, stop);
        if watch.is_due() {
            watch.show(shown, losses, None);
        }
        flow
    }
}

/// Opens the file to add rows, without those of steps that are done again.
fn open_metrics(path: &Path, done: u64) -> Result<BufWriter<File>, Failure> {
    let text = match done {
        0 => None,
        _ => files::read_text(path, LARGEST)?,
    };
    let text = text.filter(|text| text.lines().next() == Some(HEADER)).unwrap_or_default();
    let row = |line: &&str| {
        let step = line.split(',').next().and_then(|step| step.parse().ok());
        // Whole rows: a break may have left the half of one.
        line.matches(',').count() == HEADER.matches(',').count()
            && step.is_some_and(|step: u64| step <= done)
    };
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let rows = whole.lines().skip(1).filter(row).flat_map(|line| [line, "\n"]);
    files::write(path, [HEADER, "\n"].into_iter().chain(rows).collect::<String>())?;
    let file = OpenOptions::new().append(true).open(path);
    Ok(BufWriter::new(file.map_err(|error| Failure::file(path, error))?))
}
