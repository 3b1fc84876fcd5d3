//! Ho, Jain and Abbeel, *Denoising Diffusion Probabilistic Models* (2020): ancestral sampling.
use super::{Step, Table};
use crate::{
    diffusion::schedule::{Level, Prediction, Schedule, StepWeights, Variance, check_order},
    error::ScheduleError,
};

/// DDPM's ancestral sampling, equation 7, between neighbours of the list `timesteps` (noisiest
/// first): on a shortened list, beta is `1 - a / a_previous`. There is no noise at timestep 0.
///
/// With [`Variance::LearnedRange`] the network has twice the channels of its images, the second
/// half between -1 and 1: Nichol and Dhariwal (2021), equation 15.
///
/// A classifier shifts the mean by the variance times its gradient: Dhariwal and Nichol (2021),
/// algorithm 1. As in their code, also in the last step, where the variance that the posterior does not
/// have is that of the step before; [`Variance::FixedSmall`] has none.
///
/// # Errors
/// If `timesteps` rise or pass the schedule, or one has no signal left for a network that predicts
/// noise.
///
/// ```
/// use ddim::diffusion::{samplers::ddpm_table, schedule::{Prediction, Schedule, Variance}};
///
/// let schedule = Schedule::linear(1000, 1e-4, 0.02);
/// let timesteps: Vec<usize> = (0..1000).rev().collect();
/// let table = ddpm_table(&schedule, &timesteps, &Prediction::default(), Variance::FixedLarge)?;
/// assert!((table.steps[0].sigma.powi(2) - 0.02).abs() < 1e-9);
/// assert_eq!(table.steps[999].sigma, 0.0);
/// # Ok::<(), ddim::Error>(())
/// ```
pub fn ddpm_table(
    schedule: &Schedule,
    timesteps: &[usize],
    prediction: &Prediction,
    variance: Variance,
) -> Result<Table, ScheduleError> {
    check_order(timesteps)?;
    let mut steps = Vec::with_capacity(timesteps.len());
    let mut earlier = 0.0;
    for (index, &timestep) in timesteps.iter().enumerate() {
        let from = Level::of(schedule, timestep)?;
        let to = match timesteps.get(index + 1) {
            Some(&next) => Level::of(schedule, next)?,
            None => Level::CLEAN,
        };
        let (alpha, before) = (from.alpha_bar(), to.alpha_bar());
        let beta = 1.0 - alpha / before;
        let posterior = beta * (1.0 - before) / (1.0 - alpha);
        let last = index + 1 == timesteps.len();
        let not_zero = |variance: f64| variance.max(1e-20);
        let lent = if last { earlier } else { posterior };
        let (sigma, log_deviations, gradient) = match variance {
            Variance::FixedSmall => (not_zero(posterior).sqrt(), [0.0; 2], posterior),
            Variance::FixedLarge => (beta.sqrt(), [0.0; 2], if last { earlier } else { beta }),
            Variance::LearnedRange => {
                (1.0, [lent, beta].map(|variance| 0.5 * not_zero(variance).ln()), 1.0)
            }
        };
        earlier = posterior;
        let next = StepWeights {
            x0: before.sqrt() * beta / (1.0 - alpha),
            output: 0.0,
            x: (alpha / before).sqrt() * (1.0 - before) / (1.0 - alpha),
        };
        steps.push(Step {
            next: next.into(),
            sigma: if timestep == 0 { 0.0 } else { sigma },
            log_deviations,
            gradient,
            ..Step::at(&from, prediction)?
        });
    }
    Ok(Table::new(steps, prediction))
}
