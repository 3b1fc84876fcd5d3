//! Levels of noise, and what a network's output says at one.
use super::{PredictionType, Schedule};
use crate::error::ScheduleError;

/// A level of noise: `x = signal x0 + noise epsilon`, epsilon being standard normal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// What the network is told.
    pub timestep: f64,
    /// Weight of the image.
    pub signal: f64,
    /// Weight of the noise.
    pub noise: f64,
}

impl Level {
    /// The clean image.
    pub const CLEAN: Self = Self { timestep: 0.0, signal: 1.0, noise: 0.0 };

    /// The level with `alphas_cumprod` equal to `alpha`.
    pub fn variance_preserving(timestep: f64, alpha: f64) -> Self {
        Self { timestep, signal: alpha.sqrt(), noise: (1.0 - alpha).sqrt() }
    }

    /// The level `x = x0 + sigma epsilon`.
    pub fn variance_exploding(timestep: f64, sigma: f64) -> Self {
        Self { timestep, signal: 1.0, noise: sigma }
    }

    /// The level of a timestep.
    ///
    /// # Errors
    /// If the timestep is past the schedule.
    pub fn of(schedule: &Schedule, timestep: usize) -> Result<Self, ScheduleError> {
        let alphas = schedule.alphas_cumprod();
        let Some(&alpha) = alphas.get(timestep) else {
            let expected = format!("below {}", alphas.len());
            return Err(ScheduleError::value("timestep", expected, timestep));
        };
        Ok(Self::variance_preserving(timestep as f64, alpha))
    }

    /// Share of the signal in the variance: `alphas_cumprod`.
    pub fn alpha(&self) -> f64 {
        self.signal * self.signal
    }

    /// Noise over signal: the deviation of `x / signal`.
    pub fn sigma(&self) -> f64 {
        self.noise / self.signal
    }

    /// Half the logarithm of the signal-to-noise ratio.
    pub fn half_log_snr(&self) -> f64 {
        (self.signal / self.noise).ln()
    }
}

/// Weights of what a step adds up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Weights {
    /// Of the predicted image, after clipping.
    pub x0: f64,
    /// Of the network's output.
    pub output: f64,
    /// Of the sample.
    pub x: f64,
}

impl Weights {
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
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// Share of the magnitudes below the bound.
    pub ratio: f64,
    /// Largest bound.
    pub limit: f64,
}

/// What a network's output stands for, and how far the image that it predicts may go.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Output {
    /// What is predicted.
    pub prediction: PredictionType,
    /// Largest magnitude of the predicted image, if it is clipped.
    pub clip: Option<f64>,
    /// Its dynamic thresholding, if there is any.
    pub threshold: Option<Threshold>,
}

impl Output {
    /// The same, the image left as it is predicted.
    pub fn unclipped(self) -> Self {
        Self { clip: None, threshold: None, ..self }
    }

    /// The predicted image at this level, of `x` and the output.
    ///
    /// # Errors
    /// If the output is the noise and nothing else is left of the image.
    pub fn image(&self, level: &Level) -> Result<Weights, ScheduleError> {
        let Level { timestep, signal, noise } = *level;
        match self.prediction {
            PredictionType::Epsilon if signal == 0.0 => {
                Err(ScheduleError::NoSignal { timestep: timestep as usize })
            }
            PredictionType::Epsilon => {
                Ok(Weights { x0: 0.0, output: -noise / signal, x: 1.0 / signal })
            }
            PredictionType::Sample => Ok(Weights { x0: 0.0, output: 1.0, x: 0.0 }),
            PredictionType::VPrediction => Ok(Weights { x0: 0.0, output: -noise, x: signal }),
        }
    }

    /// The predicted noise at this level, of `x` and the output.
    pub fn noise(&self, level: &Level) -> Weights {
        let Level { signal, noise, .. } = *level;
        match self.prediction {
            PredictionType::Epsilon => Weights { x0: 0.0, output: 1.0, x: 0.0 },
            PredictionType::Sample => Weights { x0: 0.0, output: -signal / noise, x: 1.0 / noise },
            PredictionType::VPrediction => Weights { x0: 0.0, output: signal, x: noise },
        }
    }
}
