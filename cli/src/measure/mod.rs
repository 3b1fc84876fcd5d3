//! `ddim measure`: one stage of a measurement of the device; `scripts/measure-gpu` runs them all.
mod checks;
mod device;
mod facts;
mod kernels;
mod markdown;
mod record;
mod report;
mod run;
mod steps;
mod timing;

use crate::{
    cli::{self, Stage},
    console::say,
    failure::Failure,
    files,
};
use report::Report;
use run::{Run, name};
use std::{path::Path, time::Duration};
use timing::Repeats;

/// Runs a stage.
pub fn run(device: &cli::Device, arguments: &cli::Measure) -> Result<(), Failure> {
    let (out, overwrite) = (&arguments.out, arguments.existing.overwrite);
    if arguments.stage == Stage::Report {
        return report(out, overwrite);
    }
    let sheet = out.join(format!("{}.json", name(arguments.stage)));
    files::prepare_file(&sheet, files::JSON, overwrite)?;
    let (gpu, folder, rehearse) = (device.open()?, out.clone(), arguments.rehearse);
    let repeats = if rehearse {
        Repeats { samples: 1, span: Duration::ZERO }
    } else {
        Repeats { samples: 5, span: Duration::from_millis(8) }
    };
    let run = Run { gpu, folder, rehearse, repeats };
    match arguments.stage {
        Stage::Device => device::device(&run, device),
        Stage::Ceilings => device::ceilings(&run),
        Stage::Ops => checks::ops(&run),
        Stage::Cases => checks::reference(&run),
        Stage::Unet | Stage::Training | Stage::Ddim => steps::run(&run, arguments.stage),
        stage => kernels::run(&run, stage),
    }
}

/// Writes `report.json` and `report.md` from what the stages have written.
fn report(out: &Path, overwrite: bool) -> Result<(), Failure> {
    let names = ["report.json", "report.md"];
    files::claim(out, &names, files::JSON, overwrite)?;
    let report = Report::read(out)?;
    let [json, page] = names.map(|name| out.join(name));
    record::write(&json, &report)?;
    files::write(&page, markdown::markdown(&report))?;
    say!("wrote {}", page.display());
    Ok(())
}
