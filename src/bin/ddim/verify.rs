//! `ddim verify`: is this device to be trusted?
use crate::{
    cli::{self, Device},
    console::say,
    devices::describe,
    failure::Failure,
};
use ddim::verify::{Outcome, op_tables, reference_cases};

/// Runs the cases, a line each, and counts them on the last line.
pub fn run(device: &Device, arguments: &cli::Verify) -> Result<(), Failure> {
    let gpu = device.open()?;
    say!("{}", describe(&gpu));
    let on_result = |name: &str, outcome: &Outcome| say!("{}", outcome.line(name));
    let summary = match &arguments.cases {
        Some(folder) => reference_cases(&gpu, folder, &arguments.group, on_result)?,
        None => op_tables(&gpu, on_result)?,
    };
    say!("{summary}");
    match summary.failed {
        0 => Ok(()),
        failed => Err(Failure::Verification(failed)),
    }
}
