//! Samplers: each makes a [`Table`] of coefficients, which one kernel follows.
//!
//! To add one: a function that makes its table, a variant of [`SamplerKind`] and its row in
//! the table `SAMPLERS` of `registry.rs`.
//!
//! ```
//! use ddim::diffusion::{
//!     samplers::{SamplerKind, SamplerOptions},
//!     schedule::SchedulerConfig,
//! };
//!
//! let options = SamplerOptions { steps: Some(20), ..SamplerOptions::default() };
//! let table = SamplerKind::Ddim.table(&SchedulerConfig::default(), &options)?;
//! assert_eq!((table.steps.len(), table.adds_noise()), (20, false));
//! // One pixel: the last step leaves the image that it predicts.
//! let (predicted, next) = table.steps[19].apply(table.clip, 0.3, 0.2, 0.0);
//! assert_eq!(next, predicted);
//! # Ok::<(), ddim::Error>(())
//! ```
//!
//! A whole program: `examples/guided_digits.rs`.
mod ddim;
mod ddpm;
mod dpm_single;
mod dpm_solver;
mod euler;
mod flow;
mod kind;
mod lcm;
mod levels;
mod names;
mod pndm;
mod registry;
mod run;
mod sde;
mod table;
mod tables;
mod unipc;

pub use ddim::{DdimOptions, EncodeRule, ddim_table, encode_table};
pub use ddpm::ddpm_table;
pub use dpm_single::dpm_singlestep_table;
pub use dpm_solver::{DpmSolver, dpm_multistep_table};
pub use euler::{Churn, euler_ancestral_table, euler_table, heun_table};
pub use flow::probability_flow_table;
pub use kind::{SamplerKind, SamplerOptions};
pub use lcm::{lcm_table, lcm_timesteps};
pub use pndm::pndm_table;
pub use sde::{
    VariancePreserving, annealed_langevin_table, predictor_corrector_table, schedule_levels,
    variance_exploding_table,
};
pub use table::{Step, StepSum, Table};
pub use unipc::{UniPc, unipc_table};

use super::schedule::SchedulerConfig;
use crate::error::ScheduleError;

impl SchedulerConfig {
    /// A DDIM run of `steps` steps, by the rule of its spacing.
    ///
    /// # Errors
    /// As [`SamplerKind::table`].
    pub fn ddim(&self, steps: usize, eta: f64) -> Result<Table, ScheduleError> {
        let options = SamplerOptions { steps: Some(steps), eta, ..SamplerOptions::default() };
        SamplerKind::Ddim.table(self, &options)
    }

    /// A run of `steps` steps of DDPM's ancestral sampling.
    ///
    /// # Errors
    /// As [`SamplerKind::table`].
    pub fn ddpm(&self, steps: usize) -> Result<Table, ScheduleError> {
        let options = SamplerOptions { steps: Some(steps), ..SamplerOptions::default() };
        SamplerKind::Ddpm.table(self, &options)
    }
}
