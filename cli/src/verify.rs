//! `ddim verify`: is this device to be trusted?
use crate::{
    cli::{self, Device},
    console::say,
    devices::describe,
    failure::Failure,
};
use ddim::{
    gpu::Gpu,
    verify::{Outcome, Summary, op_tables, random_cases, reference_cases},
};
use std::time::{Duration, Instant};

/// Runs the cases, a line each, and counts them on the last line. Of random ones, those that
/// failed have a line.
pub fn run(device: &Device, arguments: &cli::Verify) -> Result<(), Failure> {
    let gpu = device.open()?;
    say!("{}", describe(&gpu));
    let on_result = |name: &str, outcome: &Outcome| say!("{}", outcome.line(name));
    let summary = match &arguments.cases {
        Some(folder) => reference_cases(&gpu, folder, &arguments.group, on_result)?,
        None if arguments.random.is_some() || arguments.number.is_some() => {
            random(&gpu, arguments, on_result)?
        }
        None => op_tables(&gpu, on_result)?,
    };
    say!("{summary}");
    match summary.failed {
        0 => Ok(()),
        failed => Err(Failure::Verification(failed)),
    }
}

/// Random cases for so many minutes, or the one of the number asked for.
fn random(
    gpu: &Gpu,
    arguments: &cli::Verify,
    on_result: impl Fn(&str, &Outcome),
) -> Result<Summary, Failure> {
    let seed = arguments.seed;
    let numbers = match arguments.number {
        Some(number) => number..=number,
        None => 0..=u64::MAX,
    };
    let started = Instant::now();
    let time = arguments.random.map(|minutes| Duration::from_secs_f64(60.0 * minutes));
    let more = || time.is_none_or(|time| started.elapsed() < time);
    let named = |number: u64, title: &str, outcome: &Outcome| {
        if *outcome != Outcome::Passed || arguments.number.is_some() {
            on_result(&format!("--seed {seed} --number {number}: {title}"), outcome);
        }
    };
    Ok(random_cases(gpu, seed, numbers, more, named)?)
}
