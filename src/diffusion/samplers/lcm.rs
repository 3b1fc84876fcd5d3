//! Latent consistency models: Luo et al., *Latent Consistency Models: Synthesizing High-Resolution
//! Images with Few-Step Inference* (2023), as diffusers has them.
use super::{Step, Table};
use crate::{
    diffusion::schedule::{Level, Prediction, Schedule, StepWeights, check_order},
    error::ScheduleError,
};

/// Deviation of the data in the boundary condition.
const SIGMA_DATA: f64 = 0.5;

/// The timesteps of a run: `steps` of the `original` ones that the model was distilled on, noisiest
/// first.
///
/// # Errors
/// If there are more steps than original ones, or more of these than timesteps.
///
/// Example: [`lcm_table()`].
pub fn lcm_timesteps(
    train: usize,
    original: usize,
    steps: usize,
) -> Result<Vec<usize>, ScheduleError> {
    ScheduleError::check("original_inference_steps", [1, train], original)?;
    ScheduleError::check("steps", [1, original], steps)?;
    let stride = train / original;
    let place = |index: usize| (index as f64 * (original as f64 / steps as f64)) as usize;
    Ok((0..steps).map(|index| (original - place(index)) * stride - 1).collect())
}

/// The consistency function `f = c_skip x + c_out x0` at each of `timesteps`, noisiest first, with
/// noise to the next one: `x' = sqrt(a') f + sqrt(1 - a') noise`; the last step gives f. With
/// `s = scaling t`, `c_skip = 0.25 / (s^2 + 0.25)` and `c_out = s / sqrt(s^2 + 0.25)`.
///
/// # Errors
/// If `timesteps` rise or pass the schedule, or one has no signal left for a network that predicts
/// noise.
///
/// ```
/// use ddim::diffusion::{samplers::{lcm_table, lcm_timesteps}, schedule::{Prediction, Schedule}};
///
/// let schedule = Schedule::scaled_linear(1000, 0.00085, 0.012);
/// let timesteps = lcm_timesteps(1000, 50, 4)?;
/// assert_eq!(timesteps, [999, 759, 499, 259]);
/// let table = lcm_table(&schedule, &timesteps, &Prediction::default(), 10.0)?;
/// // The last step adds no noise.
/// assert_eq!(table.steps[3].sigma, 0.0);
/// # Ok::<(), ddim::Error>(())
/// ```
pub fn lcm_table(
    schedule: &Schedule,
    timesteps: &[usize],
    prediction: &Prediction,
    scaling: f64,
) -> Result<Table, ScheduleError> {
    check_order(timesteps)?;
    let step = |(index, &timestep): (usize, &usize)| {
        let from = Level::of(schedule, timestep)?;
        let to = match timesteps.get(index + 1) {
            Some(&next) => Level::of(schedule, next)?,
            None => Level::CLEAN,
        };
        let scaled = scaling * timestep as f64;
        let length = scaled.hypot(SIGMA_DATA);
        let skip = (SIGMA_DATA / length).powi(2);
        let next = StepWeights { x0: scaled / length, output: 0.0, x: skip }.times(to.alpha);
        Ok(Step { next: next.into(), sigma: to.sigma, ..Step::at(&from, prediction)? })
    };
    let steps = timesteps.iter().enumerate().map(step);
    Ok(Table::new(steps.collect::<Result<_, ScheduleError>>()?, prediction))
}
