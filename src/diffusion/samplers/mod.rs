//! Samplers: each makes a [`Table`] of coefficients, which one kernel follows.
//!
//! To add one: a function that makes its table, a variant of [`SamplerKind`] and its arm in
//! `SamplerKind::entry`.
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
