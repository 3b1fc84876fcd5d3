//! Samplers: each makes a [`Table`] of coefficients, which one kernel follows.
//!
//! To add one: a function that makes its table, a variant of [`SamplerKind`] and its row in
//! the table `SAMPLERS`.
mod ddim;
mod ddpm;
mod flow;
mod kind;
mod sde;
mod table;

pub use ddim::{DdimOptions, EncodeRule, ddim_table, encode_table};
pub use ddpm::ddpm_table;
pub use flow::{dpm_solver_table, heun_table, probability_flow_table};
pub use kind::{SamplerKind, SamplerOptions};
pub use sde::{
    VariancePreserving, annealed_langevin_table, predictor_corrector_table, schedule_levels,
    variance_exploding_table,
};
pub use table::{Step, Table};

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
