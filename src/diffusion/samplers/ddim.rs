//! Song, Meng and Ermon, *Denoising Diffusion Implicit Models* (2021): sampling and encoding.
use super::{Step, Table};
use crate::{
    diffusion::schedule::{Level, Prediction, Schedule, StepRule, StepWeights, check_order},
    error::{ScheduleError, Unexpected},
};

/// The choices of DDIM's sampler.
///
/// Example: [`ddim_table()`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DdimOptions {
    /// Noise of a step: 0 is deterministic, 1 has that of DDPM, equation 16.
    pub eta: f64,
    /// To which level a step goes.
    pub rule: StepRule,
    /// `alphas_cumprod` after the last step: 1, or the schedule's first.
    pub final_alpha: f64,
    /// The noise of a step is `sqrt(1 - a / a')` whatever the mean allows for: sigma-hat of
    /// appendix D.3; none at timestep 0.
    pub sigma_hat: bool,
    /// Whether the noise is derived again from the clipped image: `use_clipped_model_output`.
    pub rederive_noise: bool,
    /// Whether a classifier guides, which needs the noise derived again: Dhariwal and Nichol 2021,
    /// algorithm 2.
    pub classifier: bool,
}

impl Default for DdimOptions {
    fn default() -> Self {
        Self {
            eta: 0.0,
            rule: StepRule::NextEntry,
            final_alpha: 1.0,
            sigma_hat: false,
            rederive_noise: false,
            classifier: false,
        }
    }
}

/// DDIM, equations 12 and 16, along `timesteps`, noisiest first:
/// `x' = sqrt(a') x0 + sqrt(1 - a' - sigma^2) epsilon + sigma noise`.
///
/// A classifier with the gradient `g` of `log p(y | x)` shifts the noise to `epsilon - sqrt(1 - a) g`, and
/// with it the image to `x0 + (1 - a) / sqrt(a) g`, which is not clipped again.
///
/// # Errors
/// If eta is negative or no number, `timesteps` rise or pass the schedule, or one has no signal
/// left for a network that predicts noise.
///
/// ```
/// use ddim::diffusion::{samplers::{DdimOptions, ddim_table}, schedule::{Prediction, Schedule}};
///
/// let schedule = Schedule::linear(1000, 1e-4, 0.02);
/// let options = DdimOptions { eta: 1.0, ..DdimOptions::default() };
/// let table = ddim_table(&schedule, &[750, 500, 250, 0], &Prediction::default(), &options)?;
/// // The noise of DDPM, but none on the clean image.
/// assert!(table.adds_noise());
/// assert_eq!(table.steps[3].sigma, 0.0);
/// # Ok::<(), ddim::Error>(())
/// ```
pub fn ddim_table(
    schedule: &Schedule,
    timesteps: &[usize],
    prediction: &Prediction,
    options: &DdimOptions,
) -> Result<Table, ScheduleError> {
    let DdimOptions { eta, rule, final_alpha, sigma_hat, rederive_noise, classifier } = *options;
    Unexpected::check(eta >= 0.0 && eta.is_finite(), "eta", "0 or above", eta)?;
    check_order(timesteps)?;
    let stride = schedule.timesteps() / timesteps.len().max(1);
    let step = |index: usize, timestep: usize| -> Result<Step, ScheduleError> {
        let from = Level::of(schedule, timestep)?;
        let next = match rule {
            StepRule::NextEntry => timesteps.get(index + 1).copied(),
            StepRule::Stride => timestep.checked_sub(stride),
        };
        let to = match next {
            Some(next) => Level::of(schedule, next)?,
            None => Level::variance_preserving(0.0, final_alpha),
        };
        let lost = 1.0 - from.alpha_bar() / to.alpha_bar();
        let sigma = eta * to.sigma / from.sigma * lost.max(0.0).sqrt();
        let direction = (to.sigma * to.sigma - sigma * sigma).max(0.0).sqrt();
        let noise = match rederive_noise || classifier {
            true => StepWeights { x0: -from.alpha / from.sigma, output: 0.0, x: 1.0 / from.sigma },
            false => prediction.noise(&from),
        };
        let image = StepWeights { x0: to.alpha, ..StepWeights::default() };
        Ok(Step {
            next: image.plus(noise.times(direction)).into(),
            sigma: match (sigma_hat, timestep) {
                (false, _) => sigma,
                (true, 0) => 0.0,
                (true, _) => lost.sqrt(),
            },
            gradient: match classifier {
                true => to.alpha * from.sigma * from.sigma / from.alpha - direction * from.sigma,
                false => 0.0,
            },
            ..Step::at(&from, prediction)?
        })
    };
    let steps = timesteps.iter().enumerate().map(|(index, &timestep)| step(index, timestep));
    Ok(Table::new(steps.collect::<Result<_, _>>()?, prediction))
}

/// At which level's timestep the network is asked on the way from image to noise.
///
/// Example: [`encode_table()`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EncodeRule {
    /// At the level that is left, the image borrowing the first timestep: equation 13 read
    /// backwards.
    #[default]
    Leaving,
    /// At the level that is reached: diffusers' `DDIMInverseScheduler`.
    Reached,
}

/// DDIM with eta 0 from image to noise, along `timesteps`, noisiest first as for [`ddim_table`],
/// but taken backwards. With [`EncodeRule::Reached`] each step comes from `t - T/S`, diffusers'
/// rule, and the first from `initial_alpha`; otherwise from the entry before, the first from the
/// image.
///
/// # Errors
/// As [`ddim_table`].
///
/// ```
/// use ddim::diffusion::{samplers::{EncodeRule, encode_table}, schedule::{Prediction, Schedule}};
///
/// let schedule = Schedule::linear(1000, 1e-4, 0.02);
/// let (timesteps, prediction) = ([750, 500, 250, 0], Prediction::default());
/// let table = encode_table(&schedule, &timesteps, &prediction, EncodeRule::Leaving, 1.0)?;
/// // The network is asked at the levels that steps leave.
/// let asked: Vec<f64> = table.steps.iter().map(|step| step.timestep).collect();
/// assert_eq!(asked, [0.0, 0.0, 250.0, 500.0]);
/// # Ok::<(), ddim::Error>(())
/// ```
pub fn encode_table(
    schedule: &Schedule,
    timesteps: &[usize],
    prediction: &Prediction,
    rule: EncodeRule,
    initial_alpha: f64,
) -> Result<Table, ScheduleError> {
    check_order(timesteps)?;
    let stride = schedule.timesteps() / timesteps.len().max(1);
    let mut steps = Vec::with_capacity(timesteps.len());
    let mut left = Level::CLEAN;
    for &timestep in timesteps.iter().rev() {
        let reached = Level::of(schedule, timestep)?;
        let asked = match rule {
            EncodeRule::Leaving if steps.is_empty() => reached,
            EncodeRule::Leaving => left,
            EncodeRule::Reached => {
                left = match timestep.checked_sub(stride) {
                    Some(earlier) => Level::of(schedule, earlier)?,
                    None => Level::variance_preserving(0.0, initial_alpha),
                };
                reached
            }
        };
        let noise = prediction.noise(&asked);
        let x = StepWeights { x: 1.0 / left.alpha, ..StepWeights::default() };
        let image = x.plus(noise.times(-left.sigma_over_alpha()));
        let next = StepWeights { x0: reached.alpha, ..noise.times(reached.sigma) };
        steps.push(Step { timestep: asked.timestep, image, next: next.into(), ..Step::default() });
        left = reached;
    }
    Ok(Table::new(steps, prediction))
}
