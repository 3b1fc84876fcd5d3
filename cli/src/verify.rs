//! `ddim verify`: is this device to be trusted?
use crate::{
    cli::{self, Device},
    console::say,
    devices::describe,
    failure::Failure,
    progress::Progress,
};
use ddim::{
    Error,
    gpu::Gpu,
    verify::{Outcome, Summary, op_tables, random_cases, reference_cases},
};
use std::time::{Duration, Instant};

/// Runs the cases and counts them on the last line. Those that failed have a line, with
/// `--verbose` all have.
pub fn run(device: &Device, arguments: &cli::Verify) -> Result<(), Failure> {
    let gpu = device.open()?;
    // Each case compiles its own kernels: the cases have the bar.
    gpu.on_compile(|_, _| ());
    say!("{}", describe(&gpu));
    let mut shown = Shown { all: arguments.verbose, progress: None };
    let mut done = 0;
    let of_table = |name: &str, outcome: &Outcome, total: usize| {
        done += 1;
        shown.case(name, outcome, || Progress::new("checking", 0, total as u64, "cases"), done);
    };
    let summary = match &arguments.cases {
        Some(folder) => reference_cases(&gpu, folder, &arguments.group, of_table),
        None if arguments.random.is_some() || arguments.number.is_some() => {
            random(&gpu, arguments, &mut shown)
        }
        None => op_tables(&gpu, of_table),
    };
    drop(shown);
    let summary = summary?;
    say!("{summary}");
    match summary.failed {
        0 => Ok(()),
        failed => Err(Failure::Verification(failed)),
    }
}

/// What is said of cases while they run.
struct Shown {
    /// Of all, not of those that failed alone.
    all: bool,
    /// Begins with the first case.
    progress: Option<Progress>,
}

impl Shown {
    fn case(&mut self, name: &str, outcome: &Outcome, begin: impl FnOnce() -> Progress, done: u64) {
        let progress = self.progress.get_or_insert_with(begin);
        if self.all || matches!(outcome, Outcome::Failed(_)) {
            progress.line(&outcome.line(name));
        }
        progress.update(done, "");
    }
}

/// Random cases for so many minutes, or the one of the number asked for, which has a line however
/// it ended.
fn random(gpu: &Gpu, arguments: &cli::Verify, shown: &mut Shown) -> Result<Summary, Error> {
    let seed = arguments.seed;
    let numbers = match arguments.number {
        Some(number) => number..=number,
        None => 0..=u64::MAX,
    };
    shown.all |= arguments.number.is_some();
    let started = Instant::now();
    let time = arguments.random.map(|minutes| Duration::from_secs_f64(60.0 * minutes));
    let more = || time.is_none_or(|time| started.elapsed() < time);
    let percent = || time.map_or(100.0, |time| 100.0 * started.elapsed().div_duration_f64(time));
    random_cases(gpu, seed, numbers, more, |number, title, outcome| {
        let name = format!("--seed {seed} --number {number}: {title}");
        // How many there will be nobody knows.
        let begin = || Progress::new("checking", 0, 100, "%");
        shown.case(&name, outcome, begin, percent().min(100.0) as u64);
    })
}
