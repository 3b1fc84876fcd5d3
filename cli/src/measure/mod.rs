//! `ddim measure`: one stage of a measurement of the device; `scripts/measure-gpu` runs them all.
mod checks;
mod device;
mod kernels;
mod markdown;
mod record;
mod report;
mod steps;
mod timing;

use crate::{
    cli::{self, Stage},
    failure::Failure,
    files,
};
use checks::Checks;
use clap::ValueEnum;
use ddim::{
    gpu::{Gpu, Roofline},
    plan::{Candidate, DefaultHeuristic, KernelSelector, Problem, Target},
};
use device::Ceilings;
use record::{Sheet, read};
use std::{collections::BTreeSet, path::PathBuf, time::Duration};
use timing::Repeats;

/// What a stage has to work with.
struct Run {
    gpu: Gpu,
    folder: PathBuf,
    rehearse: bool,
    repeats: Repeats,
}

impl Run {
    /// What an earlier stage measured, or the same measured now.
    fn roofline(&self) -> Result<Roofline, Failure> {
        match read::<Sheet<Ceilings>>(&self.folder.join("ceilings.json"))? {
            Some(Sheet { facts, .. }) if facts.flops_per_second > 0.0 => Ok(facts.roofline()),
            _ => Ok(Roofline::measure(&self.gpu)?),
        }
    }

    /// Kernels that the stage `ops` found wrong.
    fn struck(&self) -> Result<BTreeSet<String>, Failure> {
        let checks = read::<Sheet<Checks>>(&self.folder.join("ops.json"))?;
        Ok(checks.map(|sheet| sheet.facts.struck).unwrap_or_default())
    }

    /// A sheet that is written after every change.
    fn sheet<T: serde::Serialize>(&self, stage: Stage, facts: T) -> Result<Sheet<T>, Failure> {
        Sheet::begin(self.folder.join(format!("{}.json", name(stage))), facts)
    }
}

/// What lowering chooses by itself, unless its kernels are not trusted: then the first that is.
struct Trusted(BTreeSet<String>);

impl KernelSelector for Trusted {
    fn select(&self, target: &Target, problem: &Problem, candidates: &[Candidate]) -> usize {
        let usual = DefaultHeuristic.select(target, problem, candidates);
        let sound = |&index: &usize| {
            !candidates[index].dispatches.iter().any(|d| self.0.contains(&record::kernel(d)))
        };
        [usual].into_iter().chain(0..candidates.len()).find(sound).unwrap_or(usual)
    }
}

/// The stage's name, as the command line has it.
fn name(stage: Stage) -> String {
    stage.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Runs a stage.
pub fn run(device: &cli::Device, arguments: &cli::Measure) -> Result<(), Failure> {
    let (out, overwrite) = (&arguments.out, arguments.existing.overwrite);
    if arguments.stage == Stage::Report {
        if !overwrite && !files::is_ours(&out.join("report.json"), files::JSON) {
            files::refuse_taken(out, &["report.json", "report.md"])?;
        }
        files::prepare_folder(out)?;
        return report::run(out);
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
