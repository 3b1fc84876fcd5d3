//! Song et al., *Score-Based Generative Modeling through Stochastic Differential Equations*
//! (2021), and Langevin dynamics: Song and Ermon, *Generative Modeling by Estimating Gradients of
//! the Data Distribution* (2019). The score is `-epsilon / sigma`.
use super::{Step, Table};
use crate::{
    diffusion::schedule::{Level, Prediction, PredictionType, Schedule, StepWeights, check_order},
    error::{ScheduleError, Unexpected},
};

/// The variance-preserving process in continuous time: `beta(t) = beta_min + t (beta_max -
/// beta_min)`, t from 0 to 1.
///
/// ```
/// use ddim::diffusion::{samplers::VariancePreserving, schedule::Prediction};
///
/// let (beta_min, beta_max, end, last_timestep) = (0.1, 20.0, 1e-3, 999.0);
/// let process = VariancePreserving { beta_min, beta_max, end, last_timestep };
/// // At time 1 little is left of the image.
/// assert!(process.level(1.0).alpha < 0.01);
/// let prediction = Prediction::default();
/// let [sde, flow] = [false, true].map(|flow| process.table(1000, &prediction, flow, true));
/// assert_eq!((sde?.adds_noise(), flow?.adds_noise()), (true, false));
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VariancePreserving {
    /// `beta(0)`: T times the first beta of a linear schedule.
    pub beta_min: f64,
    /// `beta(1)`: T times the last.
    pub beta_max: f64,
    /// End time, above 0: 1e-3 in the paper's code.
    pub end: f64,
    /// The network's timestep at time 1: `T - 1`.
    pub last_timestep: f64,
}

impl VariancePreserving {
    fn beta(&self, t: f64) -> f64 {
        self.beta_min + t * (self.beta_max - self.beta_min)
    }

    /// The level at time `t`: equation 33.
    pub fn level(&self, t: f64) -> Level {
        let integral = self.beta_min * t + 0.5 * (self.beta_max - self.beta_min) * t * t;
        let sigma = (-(-integral).exp_m1()).sqrt();
        Level { timestep: t * self.last_timestep, alpha: (-0.5 * integral).exp(), sigma }
    }

    /// `steps` times evenly from 1 to [`end`](Self::end).
    pub fn times(&self, steps: usize) -> impl Iterator<Item = f64> {
        let (end, last) = (self.end, steps.saturating_sub(1).max(1) as f64);
        (0..steps).map(move |index| 1.0 + index as f64 * (end - 1.0) / last)
    }

    /// The reverse process by Euler and Maruyama's method with steps of `1 / steps`, or its
    /// probability flow by Euler's: equations 6 and 13. With `denoise`, the last step adds no noise.
    ///
    /// # Errors
    /// If there are no steps or more than [`Table::MAX_STEPS`], or the betas or the end are out of
    /// range.
    pub fn table(
        &self,
        steps: usize,
        prediction: &Prediction,
        flow: bool,
        denoise: bool,
    ) -> Result<Table, ScheduleError> {
        self.check(steps)?;
        let width = 1.0 / steps as f64;
        let weight = if flow { 0.5 } else { 1.0 };
        let step = |(index, t): (usize, f64)| {
            let (level, beta) = (self.level(t), self.beta(t));
            let x = StepWeights { x: 1.0 + 0.5 * width * beta, ..StepWeights::default() };
            let score = prediction.noise(&level).times(-weight * width * beta / level.sigma);
            let last = denoise && index + 1 == steps;
            let sigma = if flow || last { 0.0 } else { (beta * width).sqrt() };
            Ok(Step { next: x.plus(score).into(), sigma, ..Step::at(&level, prediction)? })
        };
        let steps = self.times(steps).enumerate().map(step);
        Ok(Table::new(steps.collect::<Result<_, ScheduleError>>()?, prediction))
    }

    fn check(&self, steps: usize) -> Result<(), ScheduleError> {
        let Self { beta_min, beta_max, end, last_timestep } = *self;
        ScheduleError::check("steps", [1, Table::MAX_STEPS], steps)?;
        let positive = |number: f64| number > 0.0 && number.is_finite();
        for (key, beta) in [("beta_min", beta_min), ("beta_max", beta_max)] {
            Unexpected::check(positive(beta), key, "above 0", beta)?;
        }
        Unexpected::check(end > 0.0 && end < 1.0, "end", "between 0 and 1", end)?;
        let fits = last_timestep == 0.0 || positive(last_timestep);
        Unexpected::check(fits, "last_timestep", "0 or above", last_timestep)?;
        Ok(())
    }
}

/// The levels of a schedule, noisiest first, as steps of the variance-exploding process see them:
/// in `u = x / alpha`.
///
/// # Errors
/// If a timestep is past the schedule, or has no signal left.
///
/// Example: [`crate::diffusion::samplers::euler_table()`].
pub fn schedule_levels(
    schedule: &Schedule,
    timesteps: &[usize],
) -> Result<Vec<Level>, ScheduleError> {
    check_order(timesteps)?;
    let level = |&timestep: &usize| match Level::of(schedule, timestep)? {
        level if level.alpha > 0.0 => Ok(level),
        _ => Err(ScheduleError::NoSignal { timestep }),
    };
    timesteps.iter().map(level).collect()
}

/// A step of the reverse variance-exploding process between two levels, discretised as the
/// forward one: appendix E, equation 46. With `u = x / alpha`,
/// `u' = u - (sigma^2 - sigma'^2) epsilon / sigma + sqrt(sigma^2 - sigma'^2) noise`; without noise
/// at the clean image.
fn reverse_diffusion(
    from: &Level,
    to: &Level,
    prediction: &Prediction,
) -> Result<Step, ScheduleError> {
    let lost = from.sigma_over_alpha().powi(2) - to.sigma_over_alpha().powi(2);
    let score = prediction.noise(from).times(-lost / from.sigma_over_alpha());
    let next = StepWeights::unscaled(from).plus(score).times(to.alpha);
    let sigma = if to.sigma == 0.0 { 0.0 } else { to.alpha * lost.max(0.0).sqrt() };
    Ok(Step { next: next.into(), sigma, ..Step::at(from, prediction)? })
}

/// A step of Langevin dynamics at a level: `u' = u - size / 2 epsilon / sigma + sqrt(size) noise`
/// with `u = x / alpha`, brought to the level `to`.
fn langevin(
    at: &Level,
    to: &Level,
    size: f64,
    prediction: &Prediction,
) -> Result<Step, ScheduleError> {
    let score = prediction.noise(at).times(-0.5 * size / at.sigma_over_alpha());
    let next = StepWeights::unscaled(at).plus(score).times(to.alpha);
    Ok(Step { next: next.into(), sigma: to.alpha * size.sqrt(), ..Step::at(at, prediction)? })
}

/// The run of these steps along `levels`, which begins with noise alone.
fn run(levels: &[Level], steps: Vec<Step>, prediction: &Prediction) -> Table {
    // A variance-exploding level has its noise on top of the image; others have less of both.
    let start = levels.first().map_or(1.0, |level| level.sigma.max(1.0));
    Table { start, ..Table::new(steps, prediction) }
}

/// The reverse variance-exploding process along `levels`, noisiest first.
///
/// # Errors
/// If a level has no signal left for a network that predicts noise.
///
/// Example: [`predictor_corrector_table()`].
pub fn variance_exploding_table(
    levels: &[Level],
    prediction: &Prediction,
) -> Result<Table, ScheduleError> {
    let next = levels.iter().skip(1).chain([&Level::CLEAN]);
    let steps = levels.iter().zip(next).map(|(from, to)| reverse_diffusion(from, to, prediction));
    Ok(run(levels, steps.collect::<Result<_, _>>()?, prediction))
}

/// Predictor and corrector along `levels`, algorithm 2: at each level `correctors` steps of
/// Langevin dynamics whose size follows from the signal-to-noise ratio `snr` (0.16 in the paper),
/// then a step of reverse diffusion. The norms are those of each image.
///
/// # Errors
/// As [`variance_exploding_table`]; if `snr` is not above 0, the network predicts something else
/// than the noise, or there would be more than [`Table::MAX_STEPS`] steps.
///
/// ```
/// use ddim::diffusion::{samplers::*, schedule::{Level, Prediction, PredictionType}};
///
/// let level = |number: i32| Level::variance_exploding(number.into(), 50.0 * 0.3_f64.powi(number));
/// let levels: Vec<Level> = (0..8).map(level).collect();
/// let prediction = Prediction { kind: PredictionType::ScaledScore, ..Prediction::default() };
/// let predictor = variance_exploding_table(&levels, &prediction)?;
/// let both = predictor_corrector_table(&levels, 1, 0.16, &prediction)?;
/// assert_eq!((predictor.steps.len(), both.steps.len()), (8, 8 + 8));
/// assert_eq!((both.is_adaptive(), both.start), (true, 50.0));
/// let langevin = annealed_langevin_table(&levels, 100, 2e-5, true, &prediction)?;
/// // Its last evaluation gives the predicted image.
/// assert_eq!(langevin.steps.len(), 8 * 100 + 1);
/// # Ok::<(), ddim::Error>(())
/// ```
pub fn predictor_corrector_table(
    levels: &[Level],
    correctors: usize,
    snr: f64,
    prediction: &Prediction,
) -> Result<Table, ScheduleError> {
    Unexpected::check(snr > 0.0 && snr.is_finite(), "snr", "above 0", snr)?;
    // The kernel takes the norm of the output for that of the noise.
    let noises = [PredictionType::Epsilon, PredictionType::ScaledScore];
    let (found, fits) = (prediction.kind, noises.contains(&prediction.kind));
    Unexpected::check(fits, "prediction_type", "epsilon for a corrector", found)?;
    let most = (Table::MAX_STEPS / levels.len().max(1)).saturating_sub(1);
    ScheduleError::check("correctors", [0, most], correctors)?;
    let mut steps = Vec::with_capacity(levels.len() * (correctors + 1));
    let next = levels.iter().skip(1).chain([&Level::CLEAN]);
    for (from, to) in levels.iter().zip(next) {
        // size = 2 (snr |z| / |score|)^2: half of the size that `langevin` takes, and the kernel
        // knows the ratio of the lengths.
        let size = 4.0 * (snr * from.sigma_over_alpha()).powi(2);
        for _ in 0..correctors {
            steps.push(Step { adaptive: true, ..langevin(from, from, size, prediction)? });
        }
        steps.push(reverse_diffusion(from, to, prediction)?);
    }
    Ok(run(levels, steps, prediction))
}

/// Annealed Langevin dynamics, algorithm 1 of Song and Ermon (2019): `steps` at each of `levels`,
/// noisiest first, of size `epsilon sigma^2 / sigma_last^2`: twice ncsnv2's `step_lr`. One level alone is
/// plain Langevin dynamics. With `denoise`, a last evaluation gives the predicted image,
/// `x + sigma_last^2 score`: Jolicoeur-Martineau et al. (2020).
///
/// # Errors
/// As [`variance_exploding_table`]; if `epsilon` is not above 0, or there are no steps or more than
/// [`Table::MAX_STEPS`] in all.
///
/// Example: [`predictor_corrector_table()`].
pub fn annealed_langevin_table(
    levels: &[Level],
    steps: usize,
    epsilon: f64,
    denoise: bool,
    prediction: &Prediction,
) -> Result<Table, ScheduleError> {
    Unexpected::check(epsilon > 0.0 && epsilon.is_finite(), "epsilon", "above 0", epsilon)?;
    ScheduleError::check("steps a level", [1, Table::MAX_STEPS / levels.len().max(1)], steps)?;
    let Some(last) = levels.last() else {
        return Err(ScheduleError::value("levels", "1 or more", 0));
    };
    let mut all = Vec::with_capacity(levels.len() * steps);
    for (index, at) in levels.iter().enumerate() {
        let size = epsilon * (at.sigma_over_alpha() / last.sigma_over_alpha()).powi(2);
        let end = Level { alpha: 1.0, ..*at };
        let after = levels.get(index + 1).unwrap_or(&end);
        for step in 0..steps {
            let to = if step + 1 == steps { after } else { at };
            all.push(langevin(at, to, size, prediction)?);
        }
    }
    if denoise {
        let image = StepWeights { x0: 1.0, ..StepWeights::default() };
        all.push(Step { next: image.into(), ..Step::at(&unscaled(last), prediction)? });
    }
    Ok(run(levels, all, prediction))
}

/// A level in `x / alpha`.
fn unscaled(level: &Level) -> Level {
    Level { alpha: 1.0, sigma: level.sigma_over_alpha(), ..*level }
}
