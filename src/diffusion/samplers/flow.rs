//! Euler's method on the probability-flow equation in the DDIM paper's variables.
use super::{Step, Table, schedule_levels};
use crate::{
    diffusion::schedule::{Level, Prediction, Schedule, StepWeights},
    error::ScheduleError,
};

/// The levels of `timesteps`, noisiest first, and the clean image after them, for a solver in
/// `u = x / alpha`, which is infinite where alpha is 0.
pub(super) fn levels_with_signal(
    schedule: &Schedule,
    timesteps: &[usize],
) -> Result<Vec<Level>, ScheduleError> {
    let mut levels = schedule_levels(schedule, timesteps)?;
    levels.push(Level::CLEAN);
    Ok(levels)
}

/// Euler's method on the probability-flow equation of the variance-exploding process, in the
/// variables of Song et al. (2021), section 4.3: with `u = x / sqrt(a)` and
/// `sigma^2 = (1 - a) / a`,
///
/// `u' = u + (sigma'^2 - sigma^2) / (2 sigma) epsilon`
///
/// (Euler in sigma instead is DDIM with eta 0: [`ddim_table`](super::ddim_table).)
///
/// # Errors
/// If `timesteps` rise or pass the schedule, or one has no signal left.
///
/// ```
/// use ddim::diffusion::{samplers::probability_flow_table, schedule::{Prediction, Schedule}};
///
/// let schedule = Schedule::linear(1000, 1e-4, 0.02);
/// let timesteps: Vec<usize> = (0..1000).rev().step_by(20).collect();
/// let table = probability_flow_table(&schedule, &timesteps, &Prediction::default())?;
/// assert_eq!((table.steps.len(), table.adds_noise()), (50, false));
/// # Ok::<(), ddim::Error>(())
/// ```
pub fn probability_flow_table(
    schedule: &Schedule,
    timesteps: &[usize],
    prediction: &Prediction,
) -> Result<Table, ScheduleError> {
    let mut steps = Vec::with_capacity(timesteps.len());
    for pair in levels_with_signal(schedule, timesteps)?.windows(2) {
        let [from, to] = pair else { unreachable!("windows of two") };
        let slope = 0.5 * (to.sigma_over_alpha().powi(2) - from.sigma_over_alpha().powi(2))
            / from.sigma_over_alpha();
        let next =
            StepWeights::unscaled(from).plus(prediction.noise(from).times(slope)).times(to.alpha);
        steps.push(Step { next: next.into(), ..Step::at(from, prediction)? });
    }
    Ok(Table::new(steps, prediction))
}
