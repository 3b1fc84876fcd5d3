//! What a network is trained on at a level of noise, by objectives that have no schedule of betas.
//!
//! An objective is a table of levels, a row each: what the network is shown of image and noise, what
//! it is told, what is wanted of it, and the weight of its squared error. A training step draws rows
//! alike; continuous levels are quantiles of their distribution.
use super::objectives::{FlowWeighting, TrainingObjective};
use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// Quantiles that stand for a continuous distribution of levels.
const QUANTILES: usize = 1 << 14;

/// The least time of the stochastic equations: Song et al. 2021, appendix C.
const FIRST_TIME: f64 = 1e-5;

/// The network's timestep at time 1 of the variance-preserving equations.
const LAST_TIMESTEP: f64 = 999.0;

/// A level of noise in training.
///
/// Example: [`TrainingObjective`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainingLevel {
    /// What the network is told.
    pub timestep: f64,
    /// Weights of image and noise in what it is shown.
    pub shown: [f64; 2],
    /// The same in what is wanted of it.
    pub wanted: [f64; 2],
    /// Weight of the squared error.
    pub weight: f64,
}

/// A stochastic equation at a time: weight of the image, deviation of the noise, and `g`.
///
/// Example: [`TrainingObjective`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Diffusion {
    /// Weight of the image.
    pub mean: f64,
    /// Deviation of the noise.
    pub deviation: f64,
    /// The factor of the noise in the equation.
    pub g: f64,
}

/// The number below which a normal number is with this probability, by bisection.
fn normal_quantile(share: f64) -> f64 {
    let (mut low, mut high) = (-9.0, 9.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        let below = 0.5 * libm::erfc(-middle * FRAC_1_SQRT_2);
        if below < share { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

impl TrainingObjective {
    /// The levels that training draws from: sigmas, flow matching's s, times, or numbers of levels.
    pub fn noises(&self) -> Vec<f64> {
        let quantiles = || (0..QUANTILES).map(|index| (index as f64 + 0.5) / QUANTILES as f64);
        match *self {
            Self::Betas => Vec::new(),
            Self::Edm { .. } | Self::FlowMatching { .. } => {
                quantiles().map(|share| self.of_normal(normal_quantile(share))).collect()
            }
            Self::Ncsn { levels, .. } => (0..levels).map(|index| index as f64).collect(),
            _ => quantiles().map(|share| share * (1.0 - FIRST_TIME) + FIRST_TIME).collect(),
        }
    }

    /// The sigma or s that a normal number gives; another objective's number as it is.
    pub fn of_normal(&self, number: f64) -> f64 {
        match *self {
            Self::Edm { mean, deviation, .. } => (mean + deviation * number).exp(),
            Self::FlowMatching { mean, deviation, .. } => {
                1.0 / (1.0 + (-(mean + deviation * number)).exp())
            }
            _ => number,
        }
    }

    /// The stochastic equation at a time, if the objective has one.
    pub fn diffusion(&self, time: f64) -> Option<Diffusion> {
        match *self {
            Self::VeSde { sigma_min, sigma_max, .. } => {
                let ratio = sigma_max / sigma_min;
                let deviation = sigma_min * ratio.powf(time);
                Some(Diffusion { mean: 1.0, deviation, g: deviation * (2.0 * ratio.ln()).sqrt() })
            }
            Self::VpSde { beta_min, beta_max, .. } | Self::SubVpSde { beta_min, beta_max, .. } => {
                let beta = beta_min + time * (beta_max - beta_min);
                let integral = beta_min * time + 0.5 * (beta_max - beta_min) * time * time;
                let (mean, lost) = ((-0.5 * integral).exp(), -(-integral).exp_m1());
                Some(match self {
                    Self::VpSde { .. } => {
                        Diffusion { mean, deviation: lost.sqrt(), g: beta.sqrt() }
                    }
                    _ => {
                        let g = (beta * -(-2.0 * integral).exp_m1()).sqrt();
                        Diffusion { mean, deviation: lost, g }
                    }
                })
            }
            _ => None,
        }
    }

    /// The row of a level. Errors are summed over an image if `summed`: half of the sum, in score
    /// matching.
    pub fn level(&self, noise: f64, summed: bool) -> TrainingLevel {
        let half = if summed { 0.5 } else { 1.0 };
        match *self {
            Self::Betas => TrainingLevel {
                timestep: noise,
                shown: [1.0, 0.0],
                wanted: [0.0, 1.0],
                weight: 1.0,
            },
            Self::Edm { sigma_data: unit, .. } => {
                let length = noise.hypot(unit);
                let (skip, out) = ((unit / length).powi(2), noise * unit / length);
                // The weight of the paper is 1 / c_out^2: 1 for the network's own output.
                TrainingLevel {
                    timestep: 0.25 * noise.ln(),
                    shown: [1.0 / length, noise / length],
                    wanted: [(1.0 - skip) / out, -skip * noise / out],
                    weight: 1.0,
                }
            }
            Self::FlowMatching { weighting, .. } => TrainingLevel {
                timestep: 1000.0 * noise,
                shown: [1.0 - noise, noise],
                wanted: [-1.0, 1.0],
                weight: match weighting {
                    FlowWeighting::None => 1.0,
                    FlowWeighting::SigmaSqrt => noise.powi(-2),
                    FlowWeighting::Cosmap => 2.0 / (PI * (1.0 - 2.0 * noise + 2.0 * noise * noise)),
                },
            },
            Self::Ncsn { sigma_begin, sigma_end, levels, anneal_power } => {
                let share = noise / levels.saturating_sub(1).max(1) as f64;
                let sigma = sigma_begin * (sigma_end / sigma_begin).powf(share);
                let weight = half * sigma.powf(anneal_power - 2.0);
                TrainingLevel { timestep: noise, shown: [1.0, sigma], wanted: [0.0, -1.0], weight }
            }
            Self::VeSde { likelihood, .. }
            | Self::VpSde { likelihood, .. }
            | Self::SubVpSde { likelihood, .. } => {
                let at = self.diffusion(noise).expect("an equation's objective has one");
                let Diffusion { mean, deviation, g } = at;
                let exploding = matches!(self, Self::VeSde { .. });
                // Of the score: the squared error of the network's output, over its unit squared.
                let of_score = if likelihood { g * g } else { deviation * deviation };
                let (timestep, wanted, unit) = match exploding {
                    true => (deviation, -1.0 / deviation, 1.0),
                    false => (LAST_TIMESTEP * noise, 1.0, deviation),
                };
                TrainingLevel {
                    timestep,
                    shown: [mean, deviation],
                    wanted: [0.0, wanted],
                    weight: half * of_score / (unit * unit),
                }
            }
        }
    }
}
