//! What a stage has to work with.
use super::{
    facts::{Ceilings, Checks},
    record::{Sheet, kernel, read},
    timing::Repeats,
};
use crate::{cli::Stage, failure::Failure};
use clap::ValueEnum;
use ddim::{
    gpu::{Gpu, Roofline},
    plan::{Candidate, DefaultHeuristic, KernelSelector, Problem, Target},
};
use serde::Serialize;
use std::{collections::BTreeSet, path::PathBuf};

/// What a stage has to work with.
pub struct Run {
    pub gpu: Gpu,
    pub folder: PathBuf,
    pub rehearse: bool,
    pub repeats: Repeats,
}

impl Run {
    /// What an earlier stage measured, or the same measured now.
    pub fn roofline(&self) -> Result<Roofline, Failure> {
        match read::<Sheet<Ceilings>>(&self.folder.join("ceilings.json"))? {
            Some(Sheet { facts, .. }) if facts.flops_per_second > 0.0 => Ok(facts.roofline()),
            _ => Ok(Roofline::measure(&self.gpu)?),
        }
    }

    /// Kernels that the stage `ops` found wrong.
    pub fn struck(&self) -> Result<BTreeSet<String>, Failure> {
        let checks = read::<Sheet<Checks>>(&self.folder.join("ops.json"))?;
        Ok(checks.map(|sheet| sheet.facts.struck).unwrap_or_default())
    }

    /// A sheet that is written after every change.
    pub fn sheet<T: Serialize>(&self, stage: Stage, facts: T) -> Result<Sheet<T>, Failure> {
        Sheet::begin(self.folder.join(format!("{}.json", name(stage))), facts)
    }
}

/// What lowering chooses by itself, unless its kernels are not trusted: then the first that is.
pub struct Trusted(pub BTreeSet<String>);

impl KernelSelector for Trusted {
    fn select(&self, target: &Target, problem: &Problem, candidates: &[Candidate]) -> usize {
        let usual = DefaultHeuristic.select(target, problem, candidates);
        let sound = |&index: &usize| {
            !candidates[index].dispatches.iter().any(|d| self.0.contains(&kernel(d)))
        };
        [usual].into_iter().chain(0..candidates.len()).find(sound).unwrap_or(usual)
    }
}

/// The stage's name, as the command line has it.
pub fn name(stage: Stage) -> String {
    stage.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
