//! Sub-sequences of the timesteps for sampling in fewer steps.
use crate::error::ScheduleError;
use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{Schedule, evenly_spaced, kinds::by_name};

/// Spacing of a sampling run's timesteps.
///
/// The first three are diffusers' (its `timestep_spacing`), `uniform` and `quad` those of the code
/// released with Song et al., *Denoising Diffusion Implicit Models* (2021), `quadratic` that of
/// the paper. They parse from these names.
///
/// ```
/// use ddim::diffusion::schedule::{Spacing, StepRule, given_timesteps};
///
/// assert_eq!(Spacing::Trailing.timesteps(1000, 4, 0)?, [999, 749, 499, 249]);
/// let quad: Spacing = "quad".parse()?;
/// assert_eq!(quad.rule(), StepRule::NextEntry);
/// // Timesteps of one's own, in either order.
/// assert_eq!(given_timesteps(&[0, 250, 999], 1000)?, [999, 250, 0]);
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spacing {
    /// `0, T/n, 2T/n, ...` with the quotient rounded down, plus the offset.
    #[default]
    Leading,
    /// `T-1, T-1-T/n, ...`: starts at the noisiest timestep.
    Trailing,
    /// Evenly from 0 to T-1, rounded.
    Linspace,
    /// `0, T/n, ...` up to T: may hold more than n entries.
    Uniform,
    /// Squares of evenly spaced numbers up to 0.8 T: denser near the image.
    Quad,
    /// Appendix D.2: `tau_i = floor(c i^2)` for i from 1 to n.
    ///
    /// As read here: `c = T / n^2`, so that the last is T; entries that would repeat an earlier
    /// one, or be 0, are the least that do not, i; and the paper's timesteps 1 to T are 0 to T-1.
    Quadratic,
}

/// To which level a step of DDIM goes.
///
/// Example: [`Spacing`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StepRule {
    /// To that of the next entry of the list of timesteps: the paper and its code.
    #[default]
    NextEntry,
    /// To that of `t - T / S`, the quotient rounded down, whatever the list: diffusers.
    Stride,
}

impl fmt::Display for Spacing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leading => "leading",
            Self::Trailing => "trailing",
            Self::Linspace => "linspace",
            Self::Uniform => "uniform",
            Self::Quad => "quad",
            Self::Quadratic => "quadratic",
        })
    }
}

impl FromStr for Spacing {
    type Err = ScheduleError;

    fn from_str(name: &str) -> Result<Self, ScheduleError> {
        by_name("spacing", name)
    }
}

impl Spacing {
    /// The rule of the code that the spacing comes from.
    pub fn rule(self) -> StepRule {
        match self {
            Self::Leading | Self::Trailing | Self::Linspace => StepRule::Stride,
            Self::Uniform | Self::Quad | Self::Quadratic => StepRule::NextEntry,
        }
    }

    /// `count` of `train` timesteps, noisiest first. `offset` is diffusers' `steps_offset`, added
    /// where diffusers adds it: to the leading spacing.
    ///
    /// # Errors
    /// If `count` is 0 or above `train`, `train` is above [`Schedule::MAX_TIMESTEPS`], or the
    /// leading spacing's `offset` is not below `train`.
    pub fn timesteps(
        self,
        train: usize,
        count: usize,
        offset: usize,
    ) -> Result<Vec<usize>, ScheduleError> {
        ScheduleError::check("num_train_timesteps", [1, Schedule::MAX_TIMESTEPS], train)?;
        ScheduleError::check("steps", [1, train], count)?;
        let ascending: Vec<usize> = match self {
            Self::Leading if offset >= train => {
                return Err(ScheduleError::value("steps_offset", format!("below {train}"), offset));
            }
            Self::Leading => (0..count).map(|index| index * (train / count) + offset).collect(),
            Self::Uniform => (0..train).step_by(train / count).collect(),
            Self::Linspace => evenly_spaced(0.0, (train - 1) as f64, count)
                .map(|t| t.round_ties_even() as usize)
                .collect(),
            Self::Quad => evenly_spaced(0.0, (train as f64 * 0.8).sqrt(), count)
                .map(|root| (root * root) as usize)
                .collect(),
            // In integers: the last is exact.
            Self::Quadratic => {
                let [train, count] = [train, count].map(|number| number as u128);
                let entry = |i: u128| (train * i * i / (count * count)).max(i) - 1;
                (1..=count).map(|i| entry(i) as usize).collect()
            }
            Self::Trailing => return Ok(trailing(train, train, count)),
        };
        Ok(ascending.into_iter().rev().collect())
    }
}

/// Checks that timesteps never rise; the released code's `quad` repeats some.
///
/// # Errors
/// If there are none, or one rises.
pub(crate) fn check_order(timesteps: &[usize]) -> Result<(), ScheduleError> {
    if timesteps.is_empty() {
        return Err(ScheduleError::value("timesteps", "1 or more", 0));
    }
    match timesteps.windows(2).find(|pair| pair[0] < pair[1]) {
        None => Ok(()),
        Some(pair) => {
            let expected = format!("at most {} after {0}", pair[0]);
            Err(ScheduleError::value("timesteps", expected, pair[1]))
        }
    }
}

/// `round(arange(first, 0, -T/n)) - 1` with the roundings of NumPy's `arange`, whose step is the
/// difference of its first two entries.
pub(crate) fn trailing(first: usize, train: usize, count: usize) -> Vec<usize> {
    let (start, ratio) = (first as f64, train as f64 / count as f64);
    let step = start - (start - ratio);
    (0..(start / ratio).ceil() as usize)
        .map(|index| (start - index as f64 * step).round_ties_even() as usize)
        .map(|end| end.saturating_sub(1))
        .collect()
}

/// Timesteps chosen one by one, noisiest first whichever way they were given.
///
/// # Errors
/// If there are none, one is not below `train`, or they neither increase nor decrease strictly;
/// the error names the first that does not fit.
///
/// Example: [`Spacing`].
pub fn given_timesteps(list: &[usize], train: usize) -> Result<Vec<usize>, ScheduleError> {
    const KEY: &str = "timesteps";
    let Some((first, last)) = list.first().zip(list.last()) else {
        return Err(ScheduleError::value(KEY, "at least one", "none"));
    };
    if let Some(past) = list.iter().find(|timestep| **timestep >= train) {
        return Err(ScheduleError::value(KEY, format!("below {train}"), past));
    }
    let mut descending = list.to_vec();
    let ascends = first < last;
    if ascends {
        descending.reverse();
    }
    if let Some(pair) =
        list.windows(2).find(|pair| pair[0] == pair[1] || ascends != (pair[0] < pair[1]))
    {
        let expected = if ascends { "strictly increasing" } else { "strictly decreasing" };
        let found = format!("{} after {}", pair[1], pair[0]);
        return Err(ScheduleError::value(KEY, expected, found));
    }
    Ok(descending)
}
