//! `ddim verify`: is this device to be trusted?
use crate::{
    cli::{self, Device},
    devices::describe,
    failure::Failure,
};
use ddim::verify::{Outcome, op_tables, reference_cases};
use std::io::{self, Write, stdout};

/// Runs the cases, a line each, and counts them on the last line.
pub fn run(device: &Device, arguments: &cli::Verify) -> Result<(), Failure> {
    let gpu = device.open()?;
    let mut out = stdout();
    writeln!(out, "{}", describe(&gpu))?;
    let mut said: io::Result<()> = Ok(());
    let on_result = |name: &str, outcome: &Outcome| {
        if said.is_ok() {
            said = writeln!(stdout(), "{}", outcome.line(name));
        }
    };
    let summary = match &arguments.cases {
        Some(folder) => reference_cases(&gpu, folder, &arguments.group, on_result)?,
        None => op_tables(&gpu, on_result)?,
    };
    said?;
    writeln!(out, "{summary}")?;
    match summary.failed {
        0 => Ok(()),
        failed => Err(Failure::Verification(failed)),
    }
}
