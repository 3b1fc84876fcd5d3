//! Euler's method and Heun's on `dx/dsigma = (x - x0) / sigma`: Karras et al., *Elucidating the
//! Design Space of Diffusion-Based Generative Models* (2022), equation 1 and algorithms 1 and 2.
//!
//! `x = image + sigma noise`. The sample of a table is what the network sees: `alpha x`, where
//! alpha is `1 / sqrt(1 + sigma^2)`, or another factor that the level has. So no kernel scales it.
use super::{Step, StepSum, Table};
use crate::{
    diffusion::schedule::{Level, Prediction, PredictionType, StepWeights},
    error::{ScheduleError, Unexpected},
};

/// Noise that a deterministic sampler adds on its way, and takes out again: algorithm 2.
///
/// Example: [`euler_table()`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Churn {
    /// `S_churn`: over all steps; one step raises sigma by `S_churn / steps` of it, at most
    /// `sqrt(2) - 1`.
    pub amount: f64,
    /// `S_tmin` and `S_tmax`: the sigmas from and up to which noise is added.
    pub range: [f64; 2],
    /// `S_noise`: deviation of the noise, relative to what the rise of sigma asks for.
    pub noise: f64,
}

impl Churn {
    /// Table 5 of the paper, for ImageNet of 64 x 64.
    pub const IMAGENET: Self = Self { amount: 40.0, range: [0.05, 50.0], noise: 1.003 };

    /// None.
    pub const NONE: Self = Self { amount: 0.0, range: [0.0, f64::INFINITY], noise: 1.0 };

    /// The sigma that a step of a run raises `sigma` to, and the deviation of the noise for it.
    fn raised(&self, sigma: f64, steps: usize) -> (f64, f64) {
        let within = (self.range[0]..=self.range[1]).contains(&sigma);
        let share = (self.amount / steps as f64).min(std::f64::consts::SQRT_2 - 1.0);
        if !within || share <= 0.0 {
            return (sigma, 0.0);
        }
        let raised = sigma * (1.0 + share);
        (raised, self.noise * (raised * raised - sigma * sigma).sqrt())
    }

    fn check(&self) -> Result<(), ScheduleError> {
        for (key, number) in [("churn", self.amount), ("churn noise", self.noise)] {
            Unexpected::check(number >= 0.0 && number.is_finite(), key, "0 or above", number)?;
        }
        let [least, most] = self.range;
        let found = format!("{least} to {most}");
        Ok(Unexpected::check(least <= most, "churn range", "two sigmas that rise", found)?)
    }
}

/// Steps between the neighbours of a list of levels.
fn pairs(levels: &[Level]) -> impl Iterator<Item = (&Level, &Level)> {
    levels.iter().zip(levels.iter().skip(1))
}

/// Euler's method along `levels`, of which the last is the one that the run ends at:
/// `x' = x + (sigma' - sigma) (x - x0) / sigma`, which is `alpha' x0 + sigma' epsilon` whatever the
/// alphas: flow matching too. Churn is diffusers': the noise is added after the network was asked.
///
/// # Errors
/// If a level has no signal left for a network that predicts noise, or the churn is no such.
///
/// ```
/// use ddim::diffusion::{samplers::*, schedule::{Level, Prediction, Schedule}};
///
/// let schedule = Schedule::linear(1000, 1e-4, 0.02);
/// let levels = schedule_levels(&schedule, &[900, 600, 300])?;
/// let (levels, prediction) = ([&levels[..], &[Level::CLEAN]].concat(), Prediction::default());
/// let flow = euler_table(&levels, &prediction, &Churn::NONE)?;
/// let ancestral = euler_ancestral_table(&levels, &prediction)?;
/// assert_eq!((flow.steps.len(), ancestral.steps.len()), (3, 3));
/// assert_eq!((flow.adds_noise(), ancestral.adds_noise()), (false, true));
/// # Ok::<(), ddim::Error>(())
/// ```
pub fn euler_table(
    levels: &[Level],
    prediction: &Prediction,
    churn: &Churn,
) -> Result<Table, ScheduleError> {
    churn.check()?;
    let count = levels.len().saturating_sub(1);
    let step = |(from, to): (&Level, &Level)| {
        let (raised, deviation) = churn.raised(from.sigma_over_alpha(), count);
        if deviation == 0.0 {
            let kept = to.sigma / from.sigma;
            let next = match from.sigma == 0.0 {
                false => StepWeights { x0: to.alpha - kept * from.alpha, output: 0.0, x: kept },
                // From the clean image, only the output knows the noise.
                true => StepWeights { x0: to.alpha, ..prediction.noise(from).times(to.sigma) },
            };
            return Ok(Step { next: next.into(), ..Step::at(from, prediction)? });
        }
        let hat = raised_level(from, raised, prediction);
        // diffusers knows v at the lower sigma alone.
        let lower =
            prediction.kind == PredictionType::VPrediction && prediction.sigma_data.is_none();
        let at = if lower { from } else { &hat };
        let image = prediction.image(at)?;
        // x' = x^ + rise (x^ - x0), of x^ = x + noise.
        let rise = (to.sigma_over_alpha() - raised) / raised;
        let x = 1.0 + rise * (1.0 - image.x * at.alpha);
        let next = StepWeights { x0: 0.0, output: -rise * image.output, x: x / from.alpha }
            .times(to.alpha);
        let sigma = to.alpha * x * deviation;
        Ok(Step { next: next.into(), sigma, ..Step::at(from, prediction)? })
    };
    let steps = pairs(levels).map(step).collect::<Result<_, ScheduleError>>()?;
    Ok(Table::new(steps, prediction))
}

/// The level of a raised sigma, with the alpha that the process has there; its timestep stays.
fn raised_level(from: &Level, sigma: f64, prediction: &Prediction) -> Level {
    Level::scaled(from.timestep, sigma, prediction.sigma_data.unwrap_or(1.0))
}

/// Ancestral sampling along `levels`: a step of Euler's to `sigma_down`, then noise of `sigma_up`,
/// as the posterior of DDPM has it:
/// `sigma_up^2 = sigma'^2 (sigma^2 - sigma'^2) / sigma^2`, `sigma_down^2 = sigma'^2 - sigma_up^2`.
///
/// # Errors
/// As [`euler_table`].
///
/// Example: [`euler_table()`].
pub fn euler_ancestral_table(
    levels: &[Level],
    prediction: &Prediction,
) -> Result<Table, ScheduleError> {
    let step = |(from, to): (&Level, &Level)| {
        let (sigma, next) = (from.sigma_over_alpha(), to.sigma_over_alpha());
        let up = next * ((sigma * sigma - next * next).max(0.0)).sqrt() / sigma;
        let down = (next * next - up * up).max(0.0).sqrt();
        let weights =
            StepWeights { x0: 1.0 - down / sigma, output: 0.0, x: down / sigma / from.alpha };
        let next = weights.times(to.alpha).into();
        Ok(Step { next, sigma: to.alpha * up, ..Step::at(from, prediction)? })
    };
    let steps = pairs(levels).map(step).collect::<Result<_, ScheduleError>>()?;
    Ok(Table::new(steps, prediction))
}

/// Heun's method along `levels`: Euler's step, then the mean of the slopes at both ends; the step to
/// sigma 0 is Euler's. With churn it is the stochastic sampler, algorithm 2: noise raises sigma before
/// the network is asked, at the start too. `timestep` gives what the network is told at a raised sigma.
///
/// # Errors
/// As [`euler_table`], and if a level has no signal left.
///
/// ```
/// use ddim::diffusion::{samplers::{Churn, heun_table}, schedule::{Level, Prediction}};
///
/// // EDM: its network is told a quarter of the logarithm of sigma.
/// let timestep = |sigma: f64| 0.25 * sigma.ln();
/// let levels = [80.0, 1.0, 0.1].map(|sigma| Level::scaled(timestep(sigma), sigma, 0.5));
/// let levels = [&levels[..], &[Level::CLEAN]].concat();
/// let prediction = Prediction { sigma_data: Some(0.5), ..Prediction::default() };
/// let table = heun_table(&levels, &prediction, &Churn::IMAGENET, timestep)?;
/// assert_eq!(table.steps.len(), 2 + 2 + 1);
/// # Ok::<(), ddim::Error>(())
/// ```
pub fn heun_table(
    levels: &[Level],
    prediction: &Prediction,
    churn: &Churn,
    timestep: impl Fn(f64) -> f64,
) -> Result<Table, ScheduleError> {
    churn.check()?;
    if let Some(level) = levels.iter().find(|level| level.alpha == 0.0) {
        return Err(ScheduleError::NoSignal { timestep: level.timestep as usize });
    }
    let count = levels.len().saturating_sub(1);
    // The level at which a step begins, and the deviation of the noise that leads there.
    let raise = |level: &Level| match churn.raised(level.sigma_over_alpha(), count) {
        (_, deviation) if deviation == 0.0 || level.sigma == 0.0 => (*level, 0.0),
        (raised, deviation) => {
            let level = raised_level(level, raised, prediction);
            (Level { timestep: timestep(raised), ..level }, deviation)
        }
    };
    let mut steps = Vec::with_capacity(2 * count);
    for (index, (from, to)) in pairs(levels).enumerate() {
        let (from, _) = raise(from);
        // After the last step nothing follows that noise would be for.
        let (reached, deviation) = if index + 1 == count { (*to, 0.0) } else { raise(to) };
        let width = to.sigma_over_alpha() - from.sigma_over_alpha();
        let slope = |at: &Level| {
            let sigma = at.sigma_over_alpha();
            StepWeights { x0: -1.0 / sigma, output: 0.0, x: 1.0 / (sigma * at.alpha) }
        };
        let moved =
            |share: f64| StepWeights::unscaled(&from).plus(slope(&from).times(share * width));
        let first = Step::at(&from, prediction)?;
        if to.sigma == 0.0 {
            steps.push(Step { next: moved(1.0).times(to.alpha).into(), ..first });
            continue;
        }
        let kept = Some((0, moved(0.5).into()));
        steps.push(Step { next: moved(1.0).times(to.alpha).into(), kept, ..first });
        let next = StepSum::memory(0).plus(slope(to).times(0.5 * width).into());
        let (next, sigma) = (next.times(reached.alpha), deviation * reached.alpha);
        steps.push(Step { next, sigma, ..Step::at(to, prediction)? });
    }
    Ok(Table::new(steps, prediction))
}

/// The deviation of the noise that a run of the stochastic sampler starts from: that of `levels`'
/// first, raised.
pub(super) fn churned_start(
    levels: &[Level],
    start: f64,
    prediction: &Prediction,
    churn: &Churn,
) -> f64 {
    let Some(first) = levels.first() else { return start };
    let (raised, deviation) = churn.raised(first.sigma_over_alpha(), levels.len() - 1);
    match deviation {
        0.0 => start,
        _ => (start / first.alpha).hypot(deviation) * raised_level(first, raised, prediction).alpha,
    }
}
