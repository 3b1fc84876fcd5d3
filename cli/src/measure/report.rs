//! All stages of a run in one report.
use super::{
    facts::{Adapter, Ceilings, Checks, Profiles},
    record::{Sheet, read},
};
use crate::{failure::Failure, files};
use ddim::files::TEXT_LIMIT;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::path::Path;

/// How a stage ended, a line of `stages.jsonl` each.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ended {
    /// The stage.
    pub stage: String,
    /// `done`, or what stopped it.
    pub status: String,
    /// How long it took.
    pub seconds: f64,
}

/// When and how the run was made.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Origin {
    /// The day, as 2026-11-25.
    pub date: String,
    /// What was typed.
    pub command: String,
    /// The commit that was measured.
    pub commit: String,
}

/// A stage of times.
#[derive(Debug, Serialize)]
pub struct Timed {
    /// The stage.
    pub stage: &'static str,
    /// Its rows.
    #[serde(flatten)]
    pub sheet: Sheet<Profiles>,
}

/// Everything.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What made it.
    pub software: &'static str,
    /// When and how.
    pub origin: Origin,
    /// How each stage ended.
    pub stages: Vec<Ended>,
    /// The device.
    pub device: Adapter,
    /// What it does at most.
    pub ceilings: Ceilings,
    /// The ops' own cases.
    pub ops: Checks,
    /// Cases from files.
    pub cases: Checks,
    /// Times.
    pub timed: Vec<Timed>,
}

/// Stages that time something, in the report's order; the last is not `ddim measure`'s own.
const TIMED: [&str; 10] = [
    "unet",
    "training",
    "ddim",
    "products",
    "convolutions",
    "attention",
    "norms",
    "fusions",
    "ceilings",
    "torch",
];

impl Report {
    /// Reads what the stages have written.
    pub fn read(folder: &Path) -> Result<Self, Failure> {
        let file = |name: &str| folder.join(format!("{name}.json"));
        fn facts<T: Default + DeserializeOwned>(path: &Path) -> Result<T, Failure> {
            Ok(read::<Sheet<T>>(path)?.map(|sheet| sheet.facts).unwrap_or_default())
        }
        let mut timed = Vec::new();
        for stage in TIMED {
            timed.extend(read(&file(stage))?.map(|sheet| Timed { stage, sheet }));
        }
        let stages = folder.join("stages.jsonl");
        let ended = files::read_text(&stages, TEXT_LIMIT)?.unwrap_or_default();
        let ended = ended.lines().map(serde_json::from_str).collect::<Result<_, _>>();
        Ok(Self {
            software: "ddim",
            origin: read(&file("origin"))?.unwrap_or_default(),
            stages: ended.map_err(|error| Failure::file(stages, error))?,
            device: facts(&file("device"))?,
            ceilings: facts(&file("ceilings"))?,
            ops: facts(&file("ops"))?,
            cases: facts(&file("cases"))?,
            timed,
        })
    }
}
