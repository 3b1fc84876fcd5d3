//! What stages find out beside times.
use ddim::gpu::Roofline;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What there is to measure.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Adapter {
    /// Name, kind, API and driver in a line.
    pub adapter: String,
    /// Whether it runs on the CPU. The sheet's own `software` is what made it.
    #[serde(rename = "is_software")]
    pub software: bool,
    /// The subgroup's size, if it is fixed.
    pub subgroup: Option<u32>,
    /// All limits by name.
    pub limits: BTreeMap<String, String>,
    /// All features.
    pub features: Vec<String>,
    /// Products that a subgroup computes together, as the driver lists them.
    pub cooperative_matrices: Vec<String>,
}

/// What it does at most.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Ceilings {
    /// f32, a multiply-add counted as two, in registers.
    pub flops_per_second: f64,
    /// Read and written by a copy.
    pub bytes_per_second: f64,
    /// Seconds of a tiny launch that waits for the one before, and with run-time checks.
    pub dependent_launch: [f64; 2],
    /// Seconds of one that does not.
    pub independent_launch: [f64; 2],
}

impl Ceilings {
    /// As the library has them.
    pub fn roofline(&self) -> Roofline {
        let Self { flops_per_second, bytes_per_second, .. } = *self;
        Roofline { flops_per_second, bytes_per_second }
    }
}

/// How the checks ended.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Checks {
    /// Cases, each by every family, that are right.
    pub passed: usize,
    /// What failed, and how.
    pub failed: Vec<String>,
    /// What this device does not run.
    pub skipped: usize,
    /// Kernels that ran in failed cases and in no other.
    #[serde(default)]
    pub struck: BTreeSet<String>,
}

/// Where the time of a step goes.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Profiles {
    /// By step.
    #[serde(default)]
    pub profiles: Vec<Profiled>,
}

/// A step by kernel, and the host's part.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Profiled {
    /// The step.
    pub name: String,
    /// Kernels that take more than a hundredth, the slowest first: launches, seconds, operations,
    /// bytes.
    pub kernels: Vec<(String, usize, f64, u64, u64)>,
    /// The host's seconds to record and submit a launch.
    pub host_launch: f64,
}
