//! SDE-DPM-Solver++ (2M): Lu et al., *DPM-Solver++: Fast Solver for Guided Sampling of Diffusion
//! Probabilistic Models* (2022), its solver of the diffusion SDE.
use super::{Step, Table, schedule_levels};
use crate::{
    diffusion::schedule::{Level, Prediction, Schedule, StepWeights},
    error::ScheduleError,
};

/// The second-order multistep solver with noise in every step, the first and the last step of first
/// order. With `h` the width of a step in half the logarithm of the signal-to-noise ratio,
///
/// `x' = sigma'/sigma e^-h x + alpha' (1 - e^-2h) D + sigma' sqrt(1 - e^-2h) noise`,
///
/// where `D = x0 + h / (2 h_before) (x0 - x0_before)`.
///
/// # Errors
/// If `timesteps` rise or pass the schedule, or one has no signal left.
pub fn sde_dpm_solver_table(
    schedule: &Schedule,
    timesteps: &[usize],
    prediction: &Prediction,
) -> Result<Table, ScheduleError> {
    let mut steps = Vec::with_capacity(timesteps.len());
    let mut width_before: Option<f64> = None;
    let levels = schedule_levels(schedule, timesteps)?;
    let next = levels.iter().skip(1).chain([&Level::CLEAN]);
    for (from, to) in levels.iter().zip(next) {
        // Infinite in the last step: the sample becomes the predicted image.
        let width = to.half_log_snr() - from.half_log_snr();
        let fresh = -(-2.0 * width).exp_m1();
        let carried = match width_before.filter(|&before| before > 0.0 && width.is_finite()) {
            Some(before) => 0.5 * width / before,
            None => 0.0,
        };
        steps.push(Step {
            next: StepWeights {
                x0: to.alpha * fresh * (1.0 + carried),
                output: 0.0,
                x: to.sigma / from.sigma * (-width).exp(),
            },
            memory: -to.alpha * fresh * carried,
            kept: StepWeights { x0: 1.0, ..StepWeights::default() },
            sigma: to.sigma * fresh.max(0.0).sqrt(),
            ..Step::at(from, prediction)?
        });
        width_before = Some(width);
    }
    Ok(Table::new(steps, prediction))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where all data are one image, its prediction is exact, and each step has to lead to the mean
    /// and variance of the level that it reaches.
    #[test]
    fn an_exact_prediction_leads_from_level_to_level() {
        let schedule = Schedule::linear(1000, 1e-4, 0.02);
        let timesteps = [999, 750, 500, 100, 0];
        let table = sde_dpm_solver_table(&schedule, &timesteps, &Prediction::default());
        let mut levels = schedule_levels(&schedule, &timesteps).expect("signal everywhere");
        levels.push(Level::CLEAN);
        let (mut mean, mut variance) = (levels[0].alpha, levels[0].sigma.powi(2));
        for (step, to) in table.expect("a table").steps.iter().zip(&levels[1..]) {
            mean = step.next.x0 + step.memory + step.next.x * mean;
            variance = step.next.x.powi(2) * variance + step.sigma.powi(2);
            assert!((mean - to.alpha).abs() < 1e-12, "{to:?}: mean {mean}");
            assert!((variance - to.sigma.powi(2)).abs() < 1e-12, "{to:?}: variance {variance}");
        }
    }
}
