//! What a stage writes: a sheet of rows, whole on disk after each.
use crate::{console::say, failure::Failure, files};
use ddim::{
    Error,
    error::GpuError,
    files::TEXT_LIMIT,
    plan::{Cost, Dispatch, Plan},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// One measured time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Row {
    /// What was timed.
    pub name: String,
    /// How it was computed: a kernel family, fused or unfused, another engine.
    pub way: String,
    /// Whether lowering chooses this way by itself.
    #[serde(default)]
    pub chosen: bool,
    /// Median.
    pub seconds: f64,
    /// Shortest and longest.
    pub spread: [f64; 2],
    /// What the model of a GPU says of the device, if its rates are known.
    #[serde(default)]
    pub predicted: Option<f64>,
    /// Arithmetic of one run.
    #[serde(default)]
    pub flops: u64,
    /// Least traffic of one run.
    #[serde(default)]
    pub bytes: u64,
    /// Launches of one run.
    #[serde(default)]
    pub launches: usize,
    /// Workgroups of the largest grid.
    #[serde(default)]
    pub workgroups: u64,
    /// Kernels that run.
    #[serde(default)]
    pub kernels: BTreeSet<String>,
}

impl Row {
    /// A row without times.
    pub fn of(name: &str, way: &str, plan: &Plan, cost: Cost) -> Self {
        let workgroups = |d: &Dispatch| d.workgroups.iter().map(|&n| u64::from(n)).product();
        let launch = plan.target.profile.rates.map(|rates| rates.launch);
        let predicted =
            plan.predict().zip(launch).map(|(predicted, launch)| predicted.time(launch));
        Self {
            name: name.to_owned(),
            way: way.to_owned(),
            predicted: predicted.map(|time| time.as_secs_f64()),
            flops: cost.flops,
            bytes: cost.bytes,
            launches: plan.dispatches().count(),
            workgroups: plan.dispatches().map(workgroups).max().unwrap_or(0),
            kernels: plan.dispatches().map(kernel).collect(),
            ..Self::default()
        }
    }

    /// Its work.
    pub fn cost(&self) -> Cost {
        Cost { flops: self.flops, bytes: self.bytes }
    }
}

/// What was not measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// A stage's results; `T` holds what is no row.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sheet<T> {
    #[serde(skip)]
    path: PathBuf,
    /// What made it.
    #[serde(default)]
    software: String,
    /// What this stage alone finds out.
    #[serde(flatten)]
    pub facts: T,
    /// Times.
    #[serde(default)]
    pub rows: Vec<Row>,
    /// What does not fit, or takes too long, or was struck out.
    #[serde(default)]
    pub left_out: Vec<LeftOut>,
    /// What is still to come; empty when the stage ends by itself.
    #[serde(default)]
    pub waiting: Vec<String>,
}

impl<T: Serialize> Sheet<T> {
    /// An empty sheet, already on disk.
    pub fn begin(path: PathBuf, facts: T) -> Result<Self, Failure> {
        let (rows, left_out, waiting) = (Vec::new(), Vec::new(), Vec::new());
        let software = "ddim".to_owned();
        let sheet = Self { path, software, facts, rows, left_out, waiting };
        sheet.save()?;
        Ok(sheet)
    }

    /// Writes what there is.
    pub fn save(&self) -> Result<(), Failure> {
        write(&self.path, self)
    }

    /// Says what is to come.
    pub fn expect(&mut self, names: impl IntoIterator<Item = String>) -> Result<(), Failure> {
        self.waiting = names.into_iter().collect();
        self.save()
    }

    /// Adds a time.
    pub fn add(&mut self, row: Row) -> Result<(), Failure> {
        say!("{:>12.3} ms  {} ({})", 1e3 * row.seconds, row.name, row.way);
        self.rows.push(row);
        self.save()
    }

    /// Adds what was timed, or says why it was not, unless the device is lost.
    pub fn keep(&mut self, name: &str, timed: Result<Row, Failure>) -> Result<(), Failure> {
        match timed {
            Ok(row) => self.add(row),
            Err(lost @ Failure::Library(Error::Gpu(GpuError::Lost { .. }))) => Err(lost),
            Err(error) => self.leave_out(name, error.line()),
        }
    }

    /// Adds what cannot be timed.
    pub fn leave_out(&mut self, name: &str, reason: impl ToString) -> Result<(), Failure> {
        let (name, reason) = (name.to_owned(), reason.to_string());
        say!("   left out      {name}: {reason}");
        self.left_out.push(LeftOut { name, reason });
        self.save()
    }

    /// One of those to come is done.
    pub fn done(&mut self, name: &str) -> Result<(), Failure> {
        self.waiting.retain(|other| other != name);
        self.save()
    }
}

/// Shader and entry point.
pub fn kernel(dispatch: &Dispatch) -> String {
    format!("{}.{}", dispatch.kernel.shader, dispatch.kernel.entry)
}

/// Writes a file of the run.
pub fn write(path: &Path, of: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(of).map_err(|error| Failure::file(path, error))?;
    files::write(path, text)
}

/// A file of the run, if it is there.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Failure> {
    let parsed =
        files::read_text(path, TEXT_LIMIT)?.map(|text| serde_json::from_str(&text)).transpose();
    parsed.map_err(|error| Failure::file(path, error))
}
