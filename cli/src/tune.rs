//! `ddim tune`: which kernels are fastest on this device.
use crate::{
    cli::{self, Device},
    console::say,
    devices::{caches, describe},
    failure::Failure,
    plan::ModelStep,
    profile::executor,
};
use ddim::{
    gpu::{Executor, Gpu},
    plan::Tuning,
    tuner::{self, Measured},
};
use std::time::Duration;

/// Measures, keeps what wins, and prints both.
pub fn run(device: &Device, arguments: &cli::Tune) -> Result<(), Failure> {
    let Some(folder) = caches() else {
        return Err(Failure::Usage("this user has no folder for caches: set HOME".into()));
    };
    let gpu = device.open()?;
    let before = gpu.target().tuning.as_deref().cloned().unwrap_or_default();
    let tabled = gpu.tuned(None);
    let step = arguments.step.build(gpu.target())?;
    say!("{}\nfor {}", step.title, describe(&tabled));
    let limit = Duration::from_secs(arguments.seconds);
    let mut done = 0;
    let found = tuner::tune(&tabled, &step.graph, limit, |measured, total| {
        done += 1;
        say!("{done} of {total}  {}", told(measured));
    })?;
    let count = found.winners.len();
    let mut tuning = before;
    tuning.winners.extend(found.winners.clone());
    if count > 0 {
        let [table, tuned] = compared(&tabled, &step, found)?;
        let ms = |time: Duration| 1e3 * time.as_secs_f64();
        say!("a step: {:.3} ms by the table, {:.3} ms tuned", ms(table), ms(tuned));
        if tuned > table {
            say!("nothing is kept: the step as a whole is no faster");
            return Ok(());
        }
    }
    let path = tuner::save(&gpu, &folder, &tuning)?;
    say!("{count} kernels beat the table's; {} in all in {}", tuning.winners.len(), path.display());
    Ok(())
}

/// A problem's candidates with their times, the winner marked.
fn told(measured: &Measured) -> String {
    let family = |candidate: &str| candidate.split(';').next().unwrap_or_default().to_owned();
    let one = |(index, (candidate, time)): (usize, &(String, Option<Duration>))| {
        let mark = if index == measured.winner { "*" } else { "" };
        let time =
            time.map_or("given up".into(), |time| format!("{:.3} ms", 1e3 * time.as_secs_f64()));
        format!("{}{mark} {time}", family(candidate))
    };
    let times: Vec<String> = measured.times.iter().enumerate().map(one).collect();
    format!("{}: {}", measured.problem, times.join(", "))
}

/// Median times of a step by the table and with the winners, taken in turn.
fn compared(tabled: &Gpu, step: &ModelStep, tuning: Tuning) -> Result<[Duration; 2], Failure> {
    const RUNS: usize = 7;
    let tuned = tabled.tuned(Some(tuning));
    let make = |gpu| executor(gpu, step);
    let mut executors = [make(tabled)?, make(&tuned)?];
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..=RUNS {
        for (executor, times) in executors.iter_mut().zip(&mut times) {
            let time = timed(executor)?;
            // The first runs compile.
            times.extend((round > 0).then_some(time));
        }
    }
    Ok(times.map(|mut times| {
        times.sort_unstable();
        times[RUNS / 2]
    }))
}

fn timed(executor: &mut Executor) -> Result<Duration, Failure> {
    Ok(executor.time(1)?)
}
