//! Spacings of sigma, the deviation of the noise over that of the image.
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

use super::{Schedule, evenly_spaced, kinds::by_name};
use crate::error::ScheduleError;

/// How the sigmas of a run lie between the largest and the smallest one.
///
/// Example: [`crate::diffusion::schedule::SolverConfig`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SigmaSpacing {
    /// Even steps in `sigma^(1/rho)`, rho 7 by default: Karras et al. (2022), equation 5.
    Karras,
    /// Even steps in the logarithm.
    Exponential,
    /// Quantiles of the beta distribution with both parameters 0.6: Lee et al., *Beta Sampling is All
    /// You Need* (2024).
    Beta,
    /// Even steps in the logarithm; the solvers round the timesteps: Lu et al. (2022).
    Lu,
}

impl fmt::Display for SigmaSpacing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Karras => "karras",
            Self::Exponential => "exponential",
            Self::Beta => "beta",
            Self::Lu => "lu",
        })
    }
}

impl FromStr for SigmaSpacing {
    type Err = ScheduleError;

    fn from_str(name: &str) -> Result<Self, ScheduleError> {
        by_name("sigmas", name)
    }
}

impl SigmaSpacing {
    /// The exponent of Karras' spacing outside of EDM.
    pub const RHO: f64 = 7.0;

    /// `count` sigmas from the largest to the smallest.
    pub fn sigmas(self, [largest, smallest]: [f64; 2], count: usize, rho: f64) -> Vec<f64> {
        let ramp = evenly_spaced(0.0, 1.0, count);
        match self {
            Self::Karras => {
                let [most, least] = [largest, smallest].map(|sigma| sigma.powf(1.0 / rho));
                ramp.map(|share| (most + share * (least - most)).powf(rho)).collect()
            }
            Self::Exponential | Self::Lu => {
                let [most, least] = [largest, smallest].map(f64::ln);
                evenly_spaced(most, least, count).map(f64::exp).collect()
            }
            Self::Beta => ramp
                .map(|share| smallest + beta_quantile(1.0 - share) * (largest - smallest))
                .collect(),
        }
    }
}

/// The quantile of the beta distribution with both parameters 0.6, by bisection.
fn beta_quantile(share: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    // To the last bit of a number between 0 and 1.
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if beta_distribution(middle) < share { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// Its distribution function: `x^a (1 - x)^b / (a B(a, b))` times the continued fraction of Abramowitz
/// and Stegun, 26.5.8, from the end that is nearer.
fn beta_distribution(x: f64) -> f64 {
    const A: f64 = 0.6;
    /// `B(0.6, 0.6)`.
    const BETA: f64 = 2.415_344_208_002_471_4;
    if x > 0.5 {
        return 1.0 - beta_distribution(1.0 - x);
    }
    let fraction = (1..200).rev().fold(1.0, |rest, n: i32| {
        let m = f64::from(n / 2);
        let odd = -(A + m) * (2.0 * A + m) / ((A + 2.0 * m) * (A + 2.0 * m + 1.0));
        let even = m * (A - m) / ((A + 2.0 * m - 1.0) * (A + 2.0 * m));
        1.0 + if n % 2 == 1 { odd } else { even } * x / rest
    });
    (x * (1.0 - x)).powf(A) / (A * BETA * fraction)
}

/// The sigmas of a schedule by timestep, and back.
pub(crate) struct SigmaTable {
    sigmas: Vec<f64>,
}

impl SigmaTable {
    /// The sigmas of betas; where these are `rescaled` to end without signal, the last `alphas_cumprod`
    /// is 2^-24 in diffusers' solvers.
    pub fn new(schedule: &Schedule, rescaled: bool) -> Self {
        let sigma = |alpha_bar: &f64| ((1.0 - alpha_bar) / alpha_bar).sqrt();
        let mut sigmas: Vec<f64> = schedule.alphas_cumprod().iter().map(sigma).collect();
        if let Some(last) = sigmas.last_mut().filter(|_| rescaled) {
            *last = sigma(&2_f64.powi(-24));
        }
        Self { sigmas }
    }

    /// The largest and the smallest.
    pub fn ends(&self) -> [f64; 2] {
        [self.sigmas.last(), self.sigmas.first()].map(|end| end.copied().unwrap_or_default())
    }

    /// The sigma of a timestep, linear between whole ones.
    pub fn at(&self, timestep: f64) -> f64 {
        let last = self.sigmas.len() - 1;
        let place = timestep.clamp(0.0, last as f64);
        let low = (place as usize).min(last.saturating_sub(1));
        let high = (low + 1).min(last);
        let share = place - low as f64;
        self.sigmas[low] + share * (self.sigmas[high] - self.sigmas[low])
    }

    /// The timestep of a sigma, linear in the logarithm between whole ones.
    pub fn timestep(&self, sigma: f64) -> f64 {
        let above = self.sigmas.partition_point(|known| *known <= sigma);
        let low = above.saturating_sub(1).min(self.sigmas.len().saturating_sub(2));
        let Some(&high) = self.sigmas.get(low + 1) else { return 0.0 };
        let [low_log, high_log, log] = [self.sigmas[low], high, sigma.max(1e-10)].map(f64::ln);
        let share = ((low_log - log) / (low_log - high_log)).clamp(0.0, 1.0);
        (1.0 - share) * low as f64 + share * (low + 1) as f64
    }

    /// Timesteps whose half logarithm of the signal-to-noise ratio is at least this.
    pub fn above(&self, lambda: f64) -> usize {
        self.sigmas.partition_point(|sigma| -sigma.ln() >= lambda)
    }
}
