//! Tables of samplers along timesteps of a schedule, down to the clean image.
use ddim::{
    diffusion::{
        samplers::{Churn, DpmSolver, Table, dpm_multistep_table, heun_table, schedule_levels},
        schedule::{Level, Prediction, Schedule},
    },
    error::ScheduleError,
};

/// Heun's method.
pub fn heun(
    schedule: &Schedule,
    list: &[usize],
    output: &Prediction,
) -> Result<Table, ScheduleError> {
    let mut levels = schedule_levels(schedule, list)?;
    levels.push(Level::CLEAN);
    heun_table(&levels, output, &Churn::NONE, |_| 0.0)
}

/// DPM-Solver++ (2M).
pub fn dpm(
    schedule: &Schedule,
    list: &[usize],
    output: &Prediction,
) -> Result<Table, ScheduleError> {
    let levels = list.iter().map(|&timestep| Level::of(schedule, timestep));
    let levels: Vec<Level> = levels.chain([Ok(Level::CLEAN)]).collect::<Result<_, _>>()?;
    dpm_multistep_table(&levels, output, &DpmSolver::default())
}
