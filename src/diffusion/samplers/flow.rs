//! Deterministic solvers: the probability-flow equation in the DDIM paper's variables, and
//! DPM-Solver++.
use super::{Step, Table, schedule_levels};
use crate::{
    diffusion::schedule::{Level, Prediction, Schedule, StepWeights, check_order},
    error::ScheduleError,
};

/// The levels of `timesteps`, noisiest first, and the clean image after them.
fn levels(schedule: &Schedule, timesteps: &[usize]) -> Result<Vec<Level>, ScheduleError> {
    check_order(timesteps)?;
    let levels = timesteps.iter().map(|&timestep| Level::of(schedule, timestep));
    levels.chain([Ok(Level::CLEAN)]).collect()
}

/// The same for a solver in `u = x / alpha`, which is infinite where alpha is 0.
fn levels_with_signal(
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
        steps.push(Step { next, ..Step::at(from, prediction)? });
    }
    Ok(Table::new(steps, prediction))
}

/// Heun's method on equation 14 of Song et al. (2021), `du / dsigma = epsilon`: two evaluations of
/// the network a step, one in the last, which ends at sigma 0 (as Karras et al. 2022, algorithm 1).
///
/// # Errors
/// As [`probability_flow_table`].
pub fn heun_table(
    schedule: &Schedule,
    timesteps: &[usize],
    prediction: &Prediction,
) -> Result<Table, ScheduleError> {
    let mut steps = Vec::with_capacity(2 * timesteps.len());
    for pair in levels_with_signal(schedule, timesteps)?.windows(2) {
        let [from, to] = pair else { unreachable!("windows of two") };
        let width = to.sigma_over_alpha() - from.sigma_over_alpha();
        let after = |share: f64| {
            StepWeights::unscaled(from)
                .plus(prediction.noise(from).times(share * width))
                .times(to.alpha)
        };
        let first = Step { next: after(1.0), ..Step::at(from, prediction)? };
        if to.sigma == 0.0 {
            steps.push(first);
            continue;
        }
        steps.push(Step { kept: after(0.5), ..first });
        let next = prediction.noise(to).times(0.5 * width * to.alpha);
        steps.push(Step { next, memory: 1.0, ..Step::at(to, prediction)? });
    }
    Ok(Table::new(steps, prediction))
}

/// DPM-Solver++ (2M): Lu et al., *DPM-Solver++* (2022), algorithm 2, with the first and the last
/// step of first order. The predicted image may be clipped.
///
/// From a level of alpha 0, the first step is the limit of steps as alpha falls to 0.
///
/// # Errors
/// If `timesteps` rise or pass the schedule, or one has no signal left for a network that predicts
/// noise.
pub fn dpm_solver_table(
    schedule: &Schedule,
    timesteps: &[usize],
    prediction: &Prediction,
) -> Result<Table, ScheduleError> {
    let mut steps = Vec::with_capacity(timesteps.len());
    let mut width_before: Option<f64> = None;
    for pair in levels(schedule, timesteps)?.windows(2) {
        let [from, to] = pair else { unreachable!("windows of two") };
        // At the last step lambda is infinite: the sample becomes the predicted image.
        let width = to.half_log_snr() - from.half_log_snr();
        let weight = -to.alpha * (-width).exp_m1();
        let carried = match width_before.filter(|&before| before > 0.0 && width.is_finite()) {
            Some(before) => 0.5 * width / before,
            None => 0.0,
        };
        steps.push(Step {
            next: StepWeights {
                x0: weight * (1.0 + carried),
                output: 0.0,
                x: to.sigma / from.sigma,
            },
            memory: -weight * carried,
            kept: StepWeights { x0: 1.0, ..StepWeights::default() },
            ..Step::at(from, prediction)?
        });
        width_before = Some(width);
    }
    Ok(Table::new(steps, prediction))
}
