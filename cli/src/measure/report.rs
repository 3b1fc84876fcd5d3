//! All stages of a run in one report.
use super::{
    checks::Checks,
    device::{Adapter, Ceilings},
    markdown::markdown,
    record::{Sheet, read},
    steps::Profiles,
};
use crate::{console::say, failure::Failure, files};
use ddim::files::read_text;
use serde::{Deserialize, Serialize};
use std::{io, path::Path};

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

/// Writes `report.json` and `report.md` from what the stages have written.
pub fn run(folder: &Path) -> Result<(), Failure> {
    let file = |name: &str| folder.join(format!("{name}.json"));
    fn facts<T: Default + serde::de::DeserializeOwned>(path: &Path) -> Result<T, Failure> {
        Ok(read::<Sheet<T>>(path)?.map(|sheet| sheet.facts).unwrap_or_default())
    }
    let mut timed = Vec::new();
    for stage in TIMED {
        timed.extend(read(&file(stage))?.map(|sheet| Timed { stage, sheet }));
    }
    let report = Report {
        software: "ddim",
        origin: read(&file("origin"))?.unwrap_or_default(),
        stages: stages(&folder.join("stages.jsonl"))?,
        device: facts(&file("device"))?,
        ceilings: facts(&file("ceilings"))?,
        ops: facts(&file("ops"))?,
        cases: facts(&file("cases"))?,
        timed,
    };
    let path = folder.join("report.json");
    let json =
        serde_json::to_string_pretty(&report).map_err(|error| Failure::file(&path, error))?;
    files::write(&path, json)?;
    files::write(&folder.join("report.md"), markdown(&report))?;
    say!("wrote {}", folder.join("report.md").display());
    Ok(())
}

fn stages(path: &Path) -> Result<Vec<Ended>, Failure> {
    let text = match read_text(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Failure::file(path, error)),
    };
    let ended = text.lines().map(serde_json::from_str).collect::<Result<_, _>>();
    ended.map_err(|error| Failure::file(path, error))
}
