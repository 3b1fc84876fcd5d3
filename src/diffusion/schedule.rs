//! Noise schedules, in f64 throughout.
//!
//! A [`Schedule`] is the list of betas of Ho et al., *Denoising Diffusion Probabilistic Models*
//! (2020), and what follows from them. [`SchedulerConfig`] reads and writes diffusers'
//! `scheduler_config.json`, and [`Spacing`] picks the timesteps of a shorter sampling run.
//!
//! ```
//! use ddim::diffusion::schedule::{Level, SchedulerConfig, Spacing};
//!
//! let schedule = SchedulerConfig::default().schedule()?;
//! assert_eq!(Spacing::Leading.timesteps(schedule.timesteps(), 4, 0)?, [750, 500, 250, 0]);
//! // The first timestep is nearly the image, the last nearly noise.
//! let [first, last] = [0, 999].map(|timestep| Level::of(&schedule, timestep));
//! assert!(first?.alpha_bar() > 0.999 && last?.alpha_bar() < 1e-4);
//! # Ok::<(), ddim::Error>(())
//! ```
mod classes;
mod config;
mod kinds;
mod level;
mod parse;
mod respacing;
mod sigmas;
mod solver;
mod timesteps;
mod vlb;

pub use classes::Process;
pub use config::SchedulerConfig;
pub use kinds::{BetaSchedule, PredictionType, Variance};
pub use level::{Level, Prediction, StepWeights, Threshold};
pub use respacing::Respacing;
pub use sigmas::SigmaSpacing;
pub(crate) use sigmas::SigmaTable;
pub use solver::{DpmAlgorithm, FinalSigma, SolverConfig, SolverType};
pub use timesteps::{Spacing, StepRule, given_timesteps};
pub(crate) use timesteps::{check_order, trailing};
pub use vlb::vlb_levels;

use crate::error::ScheduleError;

/// The forward process: `x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) noise`, with `a_t` the product of
/// `1 - beta` up to t (`alphas_cumprod` in diffusers, alpha-bar in DDPM, alpha in DDIM).
///
/// ```
/// use ddim::diffusion::schedule::Schedule;
///
/// let schedule = Schedule::linear(1000, 1e-4, 0.02);
/// assert_eq!((schedule.timesteps(), schedule.betas()[0]), (1000, 1e-4));
/// assert!(schedule.alphas_cumprod()[999] < 1e-4);
/// assert_eq!(schedule.with_zero_terminal_snr().alphas_cumprod()[999], 0.0);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    betas: Vec<f64>,
    alphas_cumprod: Vec<f64>,
}

impl Schedule {
    /// The most timesteps that a configured schedule may have.
    pub const MAX_TIMESTEPS: usize = 1_000_000;

    /// Betas evenly spaced from `start` to `end` (DDPM: 1e-4 to 0.02 in 1000 steps).
    pub fn linear(timesteps: usize, start: f64, end: f64) -> Self {
        Self::of_betas(evenly_spaced(start, end, timesteps).collect())
    }

    /// Square roots of betas evenly spaced: the quadratic schedule of the code released with DDPM
    /// and DDIM (`quad`), and that of latent diffusion (0.00085 to 0.012).
    #[doc(alias = "quadratic")]
    pub fn scaled_linear(timesteps: usize, start: f64, end: f64) -> Self {
        let roots = evenly_spaced(start.sqrt(), end.sqrt(), timesteps);
        Self::of_betas(roots.map(|root| root * root).collect())
    }

    /// `a(u) = cos^2(pi/2 (u + 0.008) / 1.008)`, each beta at most 0.999: Nichol and Dhariwal,
    /// *Improved Denoising Diffusion Probabilistic Models* (2021); diffusers' `squaredcos_cap_v2`.
    pub fn cosine(timesteps: usize) -> Self {
        let alpha_bar = |step: usize| {
            let u = step as f64 / timesteps as f64;
            ((u + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2)
        };
        let betas = (0..timesteps).map(|t| (1.0 - alpha_bar(t + 1) / alpha_bar(t)).min(0.999));
        Self::of_betas(betas.collect())
    }

    /// The same beta in every step: `const` of the released code.
    pub fn constant(timesteps: usize, beta: f64) -> Self {
        Self::of_betas(vec![beta; timesteps])
    }

    /// `1/T, 1/(T-1), .., 1`: `jsd` of the released code; Sohl-Dickstein et al., *Deep Unsupervised
    /// Learning using Nonequilibrium Thermodynamics* (2015), section 2.4.1.
    ///
    /// The last timestep is pure noise (its `alphas_cumprod` is 0): a model that predicts epsilon
    /// cannot start there ([`ScheduleError::NoSignal`]), one that predicts x0 or v can.
    #[doc(alias = "jsd")]
    pub fn reciprocal(timesteps: usize) -> Self {
        Self::of_betas((1..=timesteps).rev().map(|left| (left as f64).recip()).collect())
    }

    /// Betas along a logistic curve from near `start` to near `end`, its argument evenly spaced
    /// from -6 to 6: `sigmoid` of DDIM's released code and of diffusers.
    pub fn sigmoid(timesteps: usize, start: f64, end: f64) -> Self {
        let logistic = |x: f64| (1.0 + (-x).exp()).recip();
        let betas = evenly_spaced(-6.0, 6.0, timesteps);
        Self::of_betas(betas.map(|x| logistic(x) * (end - start) + start).collect())
    }

    /// The schedule with these betas, one per timestep.
    ///
    /// # Errors
    /// If there are none, or one is not between 0 and 1; the error says which.
    pub fn from_betas(betas: Vec<f64>) -> Result<Self, ScheduleError> {
        if betas.is_empty() {
            return Err(ScheduleError::value("betas", "at least one number", "none"));
        }
        // Written so that NaN is refused.
        let outside = |beta: &f64| !(*beta > 0.0 && *beta < 1.0);
        if let Some(timestep) = betas.iter().position(outside) {
            let found = format!("{} at timestep {timestep}", betas[timestep]);
            return Err(ScheduleError::value("betas", "numbers between 0 and 1", found));
        }
        Ok(Self::of_betas(betas))
    }

    fn of_betas(betas: Vec<f64>) -> Self {
        let mut product = 1.0;
        let alphas_cumprod = betas
            .iter()
            .map(|beta| {
                product *= 1.0 - beta;
                product
            })
            .collect();
        Self { betas, alphas_cumprod }
    }

    /// The same schedule stretched so that the last timestep is pure noise: algorithm 1 of
    /// Lin et al., *Common Diffusion Noise Schedules and Sample Steps are Flawed* (2023).
    pub fn with_zero_terminal_snr(&self) -> Self {
        let Some((first, last)) = self.alphas_cumprod.first().zip(self.alphas_cumprod.last())
        else {
            return self.clone();
        };
        let (first, last) = (first.sqrt(), last.sqrt());
        let stretched = |a: f64| ((a.sqrt() - last) * first / (first - last)).powi(2);
        let mut previous = 1.0;
        let betas = self.alphas_cumprod.iter().map(|&a| {
            let beta = 1.0 - stretched(a) / previous;
            previous = stretched(a);
            beta
        });
        Self::of_betas(betas.collect())
    }

    /// Number of timesteps.
    pub fn timesteps(&self) -> usize {
        self.betas.len()
    }

    /// Variance of the noise that each timestep adds.
    pub fn betas(&self) -> &[f64] {
        &self.betas
    }

    /// Share of the image's variance that is left at each timestep.
    pub fn alphas_cumprod(&self) -> &[f64] {
        &self.alphas_cumprod
    }

    /// `alphas_cumprod` one timestep earlier: 1 before the first.
    fn alpha_before(&self, timestep: usize) -> f64 {
        timestep.checked_sub(1).map_or(1.0, |earlier| self.alphas_cumprod[earlier])
    }

    /// Variance of `q(x_{t-1} | x_t, x_0)` at each timestep, DDPM equation 7.
    pub fn posterior_variance(&self) -> Vec<f64> {
        (0..self.timesteps())
            .map(|t| self.betas[t] * (1.0 - self.alpha_before(t)) / (1.0 - self.alphas_cumprod[t]))
            .collect()
    }

    /// Its logarithm, where the first entry, the logarithm of 0, is replaced by the second.
    pub fn posterior_log_variance_clipped(&self) -> Vec<f64> {
        let mut variance = self.posterior_variance();
        if let [first, second, ..] = &mut variance[..] {
            *first = *second;
        }
        variance.into_iter().map(f64::ln).collect()
    }

    /// Weights of `(x_0, x_t)` in the mean of `q(x_{t-1} | x_t, x_0)` at each timestep, DDPM
    /// equation 7.
    pub fn posterior_mean_coefficients(&self) -> Vec<(f64, f64)> {
        (0..self.timesteps())
            .map(|t| {
                let (beta, before) = (self.betas[t], self.alpha_before(t));
                let noise = 1.0 - self.alphas_cumprod[t];
                (beta * before.sqrt() / noise, (1.0 - before) * (1.0 - beta).sqrt() / noise)
            })
            .collect()
    }
}

/// `count` numbers from `start` to `end`, both included, computed as NumPy's `linspace` does:
/// exact integers follow from some of them.
pub(crate) fn evenly_spaced(start: f64, end: f64, count: usize) -> impl Iterator<Item = f64> {
    let last = count.saturating_sub(1);
    let step = if last == 0 { 0.0 } else { (end - start) / last as f64 };
    (0..count).map(
        move |index| {
            if index == last && last > 0 { end } else { index as f64 * step + start }
        },
    )
}
