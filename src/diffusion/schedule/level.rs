//! Levels of noise, and what a network's output says at one.
use super::{PredictionType, Schedule};
use crate::error::ScheduleError;

/// A level of noise: `x = alpha x0 + sigma epsilon`, epsilon being standard normal.
///
/// Example: [`Prediction`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// The network's timestep.
    pub timestep: f64,
    /// Weight of the image.
    pub alpha: f64,
    /// Weight of the noise.
    pub sigma: f64,
}

impl Level {
    /// The clean image.
    pub const CLEAN: Self = Self { timestep: 0.0, alpha: 1.0, sigma: 0.0 };

    /// The level with `alphas_cumprod` equal to `alpha_bar`.
    pub fn variance_preserving(timestep: f64, alpha_bar: f64) -> Self {
        Self { timestep, alpha: alpha_bar.sqrt(), sigma: (1.0 - alpha_bar).sqrt() }
    }

    /// The level `x = x0 + sigma epsilon`.
    pub fn variance_exploding(timestep: f64, sigma: f64) -> Self {
        Self { timestep, alpha: 1.0, sigma }
    }

    /// The level `x = x0 + sigma epsilon`, scaled to variance 1 where the image has `unit^2`: what the
    /// networks of sigmas see.
    pub fn scaled(timestep: f64, sigma: f64, unit: f64) -> Self {
        let alpha = 1.0 / sigma.hypot(unit);
        Self { timestep, alpha, sigma: sigma * alpha }
    }

    /// The level of flow matching, `x = (1 - sigma) x0 + sigma epsilon`.
    pub fn flow(timestep: f64, sigma: f64) -> Self {
        Self { timestep, alpha: 1.0 - sigma, sigma }
    }

    /// The level of a timestep.
    ///
    /// # Errors
    /// If the timestep is past the schedule.
    pub fn of(schedule: &Schedule, timestep: usize) -> Result<Self, ScheduleError> {
        let alphas = schedule.alphas_cumprod();
        let Some(&alpha_bar) = alphas.get(timestep) else {
            let expected = format!("below {}", alphas.len());
            return Err(ScheduleError::value("timestep", expected, timestep));
        };
        Ok(Self::variance_preserving(timestep as f64, alpha_bar))
    }

    /// Share of the image in the variance: `alphas_cumprod`.
    pub fn alpha_bar(&self) -> f64 {
        self.alpha * self.alpha
    }

    /// The deviation of `x / alpha`.
    pub fn sigma_over_alpha(&self) -> f64 {
        self.sigma / self.alpha
    }

    /// Half the logarithm of the signal-to-noise ratio.
    pub fn half_log_snr(&self) -> f64 {
        (self.alpha / self.sigma).ln()
    }
}

/// Weights of what a step adds up.
///
/// Example: [`Prediction`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepWeights {
    /// Of the predicted image, after clipping.
    pub x0: f64,
    /// Of the network's output.
    pub output: f64,
    /// Of the sample.
    pub x: f64,
}

impl StepWeights {
    /// `x / alpha` at this level.
    pub(crate) fn unscaled(level: &Level) -> Self {
        Self { x: 1.0 / level.alpha, ..Self::default() }
    }

    /// All of them times `factor`.
    pub fn times(self, factor: f64) -> Self {
        Self { x0: self.x0 * factor, output: self.output * factor, x: self.x * factor }
    }

    /// The sums of both.
    pub fn plus(self, other: Self) -> Self {
        Self { x0: self.x0 + other.x0, output: self.output + other.output, x: self.x + other.x }
    }
}

/// Dynamic thresholding of the predicted image: Saharia et al. (2022), section 2.3.
///
/// Example: [`Prediction`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// Share of the magnitudes below the bound.
    pub ratio: f64,
    /// Largest bound.
    pub limit: f64,
}

/// Parametrisation of a network's prediction, and clipping of the image that follows from it.
///
/// ```
/// use ddim::diffusion::schedule::{Level, Prediction, StepWeights, Threshold};
///
/// let threshold = Some(Threshold { ratio: 0.995, limit: 2.0 });
/// let prediction = Prediction { threshold, ..Prediction::default() };
/// // Where x = 0.8 x0 + 0.6 noise, the image is 1.25 x - 0.75 noise.
/// let level = Level::variance_preserving(300.0, 0.64);
/// let StepWeights { x, output, .. } = prediction.image(&level)?;
/// assert!((x - 1.25).abs() < 1e-9 && (output + 0.75).abs() < 1e-9);
/// assert_eq!(prediction.unclipped(), Prediction::default());
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Prediction {
    /// What the network predicts: noise, image, v, flow or score.
    pub kind: PredictionType,
    /// Largest magnitude of the predicted image, if it is clipped.
    pub clip: Option<f64>,
    /// Its dynamic thresholding, if there is any.
    pub threshold: Option<Threshold>,
    /// Deviation of the images, where the network has EDM's preconditioning: the image is
    /// `c_skip x + c_out output` then, with the other sign of `c_out` for a network of v.
    pub sigma_data: Option<f64>,
}

impl Prediction {
    /// The same, the image left as it is predicted.
    pub fn unclipped(self) -> Self {
        Self { clip: None, threshold: None, ..self }
    }

    /// The sign of EDM's `c_out`.
    fn sign(&self) -> f64 {
        if self.kind == PredictionType::VPrediction { -1.0 } else { 1.0 }
    }

    /// The predicted image at this level, of `x` and the output.
    ///
    /// # Errors
    /// If the output is the noise and nothing else is left of the image.
    pub fn image(&self, level: &Level) -> Result<StepWeights, ScheduleError> {
        let Level { timestep, alpha, sigma } = *level;
        if let Some(unit) = self.sigma_data {
            // With x / sqrt(sigma^2 + unit^2) for x: c_skip is unit^2 alpha, c_out sigma unit.
            return Ok(StepWeights {
                x0: 0.0,
                output: self.sign() * sigma * unit,
                x: unit * unit * alpha,
            });
        }
        match self.kind {
            PredictionType::Epsilon | PredictionType::Score | PredictionType::ScaledScore
                if alpha == 0.0 =>
            {
                Err(ScheduleError::NoSignal { timestep: timestep as usize })
            }
            PredictionType::Epsilon => {
                Ok(StepWeights { x0: 0.0, output: -sigma / alpha, x: 1.0 / alpha })
            }
            PredictionType::Score => {
                Ok(StepWeights { x0: 0.0, output: sigma * sigma / alpha, x: 1.0 / alpha })
            }
            PredictionType::ScaledScore => {
                Ok(StepWeights { x0: 0.0, output: sigma / alpha, x: 1.0 / alpha })
            }
            PredictionType::Sample => Ok(StepWeights { x0: 0.0, output: 1.0, x: 0.0 }),
            PredictionType::VPrediction => Ok(StepWeights { x0: 0.0, output: -sigma, x: alpha }),
            PredictionType::Flow => {
                Ok(StepWeights { x0: 0.0, output: -sigma, x: 1.0 }.times(1.0 / (alpha + sigma)))
            }
        }
    }

    /// The predicted noise at this level, of `x` and the output.
    pub fn noise(&self, level: &Level) -> StepWeights {
        let Level { alpha, sigma, .. } = *level;
        if let Some(unit) = self.sigma_data {
            return StepWeights { x0: 0.0, output: -self.sign() * alpha * unit, x: sigma };
        }
        match self.kind {
            PredictionType::Epsilon => StepWeights { x0: 0.0, output: 1.0, x: 0.0 },
            PredictionType::Score => StepWeights { x0: 0.0, output: -sigma, x: 0.0 },
            PredictionType::ScaledScore => StepWeights { x0: 0.0, output: -1.0, x: 0.0 },
            PredictionType::Sample => {
                StepWeights { x0: 0.0, output: -alpha / sigma, x: 1.0 / sigma }
            }
            PredictionType::VPrediction => StepWeights { x0: 0.0, output: alpha, x: sigma },
            PredictionType::Flow => {
                StepWeights { x0: 0.0, output: alpha, x: 1.0 }.times(1.0 / (alpha + sigma))
            }
        }
    }
}
