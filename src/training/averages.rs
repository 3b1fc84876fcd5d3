//! Moving averages of the weights beside that of a checkpoint's model: of several decays, and of power functions, from
//! which an average of any length is made afterwards.
//!
//! Karras et al. 2024, *Analyzing and Improving the Training Dynamics of Diffusion Models*, section 3: an average whose
//! weights of a step are proportional to the `gamma`-th power of it has a relative length
//! `sigma_rel = sqrt((gamma + 1) / ((gamma + 2)^2 (gamma + 3)))`, its standard deviation over its last step.
use crate::{
    error::{TrainingError, Unexpected},
    ops::AverageDecay,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest average of a power function: that of `gamma` = 0.
const LONGEST: f64 = 0.288_675_134_594_812_9;

/// A moving average of the weights.
///
/// Example: [`crate::training::read_average()`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Average {
    /// With this decay, at most `(1 + i) / (10 + i)` in step `i`.
    Decay(f64),
    /// Of a power function with this relative length.
    Power(f64),
}

impl fmt::Display for Average {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decay(decay) => write!(f, "decay-{decay}"),
            Self::Power(length) => write!(f, "power-{length}"),
        }
    }
}

impl Average {
    /// Checks its number.
    pub(super) fn check(&self) -> Result<(), Unexpected> {
        let (fits, expected, found) = match self {
            Self::Decay(decay) => {
                ((0.0..1.0).contains(decay), "a decay of 0 to 1, without 1", decay)
            }
            Self::Power(length) => {
                let expected = "a relative length above 0.0001 and below 0.2886";
                (*length > 1e-4 && *length < LONGEST, expected, length)
            }
        };
        Unexpected::check(fits, "averages", expected, found)
    }

    /// How fast it forgets.
    pub(super) fn decay(&self) -> AverageDecay {
        match self {
            Self::Decay(decay) => AverageDecay::Constant { decay: (*decay).into(), warmup: true },
            Self::Power(length) => AverageDecay::Power { gamma: gamma(*length).into() },
        }
    }
}

/// The exponent of a power function with a relative length, which falls as it grows; for lengths above 1e-4
/// and below 0.2886, as [`Average::Power`] takes them.
///
/// ```
/// use ddim::training::gamma;
///
/// // Karras et al. 2024, section 3.2.
/// assert!((gamma(0.05) - 16.97).abs() < 0.005);
/// assert!((gamma(0.1) - 6.94).abs() < 0.005);
/// ```
pub fn gamma(length: f64) -> f64 {
    let of = |gamma: f64| ((gamma + 1.0) / ((gamma + 2.0).powi(2) * (gamma + 3.0))).sqrt();
    let (mut low, mut high) = (0.0, 1e5);
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if of(middle) > length { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// The scalar product of the weights, over time, of two averages of power functions that end at given times, each
/// `(gamma, time)`: Karras et al. 2024, eq. 128.
fn product((one, at): (f64, f64), (other, until): (f64, f64)) -> f64 {
    let ratio = if at < until { (at / until).powf(other) } else { (until / at).powf(one) };
    (one + 1.0) * (other + 1.0) * ratio / ((one + other + 1.0) * at.max(until))
}

/// The weights of kept averages, each `(relative length, step)`, whose sum comes nearest to an average of another
/// relative length that ends at `step`: Karras et al. 2024, algorithm 3.
///
/// ```
/// use ddim::training::post_hoc;
///
/// let kept = [(0.05, 1000), (0.1, 1000)];
/// let weights = post_hoc(&kept, 0.075, 1000)?;
/// assert!(weights.iter().all(|weight| *weight > 0.0));
/// // One that was kept is made of itself alone.
/// let weights = post_hoc(&kept, 0.1, 1000)?;
/// assert!(weights[0].abs() < 1e-9 && (weights[1] - 1.0).abs() < 1e-9);
/// # Ok::<(), ddim::Error>(())
/// ```
///
/// # Errors
/// If there is none, or two of them are one.
pub fn post_hoc(kept: &[(f64, u64)], length: f64, step: u64) -> Result<Vec<f64>, TrainingError> {
    Average::Power(length).check()?;
    let of = |(length, step): (f64, u64)| (gamma(length), step as f64);
    let (kept, wanted): (Vec<_>, _) = (kept.iter().copied().map(of).collect(), of((length, step)));
    Unexpected::check(!kept.is_empty(), "kept averages", "one or more", 0)?;
    let rows = kept.iter().map(|one| {
        let row = kept.iter().map(|other| product(*one, *other));
        row.chain([product(*one, wanted)]).collect()
    });
    let solved = solve(rows.collect());
    let expected = "averages of different lengths and steps";
    let same = || Unexpected::new("kept averages", expected, "some that are one").into();
    solved.ok_or_else(same)
}

/// The solution of linear equations, a row each, with the constant last: Gauss's elimination with pivots.
fn solve(mut rows: Vec<Vec<f64>>) -> Option<Vec<f64>> {
    let count = rows.len();
    for column in 0..count {
        let size = |row: &usize| rows[*row][column].abs();
        let pivot = (column..count).max_by(|one, other| size(one).total_cmp(&size(other)))?;
        rows.swap(column, pivot);
        let pivot = rows[column].clone();
        if pivot[column].abs() < 1e-300 {
            return None;
        }
        for row in &mut rows[column + 1..] {
            let factor = row[column] / pivot[column];
            row.iter_mut().zip(&pivot).for_each(|(element, of)| *element -= factor * of);
        }
    }
    let mut solution = vec![0.0; count];
    for row in (0..count).rev() {
        let known = (row + 1..count).map(|column| rows[row][column] * solution[column]);
        solution[row] = (rows[row][count] - known.sum::<f64>()) / rows[row][row];
    }
    solution.iter().all(|number| number.is_finite()).then_some(solution)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_are_those_of_the_paper() {
        // Section 3.2: 16.97 and 6.94 for lengths of 5% and 10%.
        assert!((gamma(0.05) - 16.97).abs() < 0.005, "{}", gamma(0.05));
        assert!((gamma(0.10) - 6.94).abs() < 0.005, "{}", gamma(0.10));
        for length in [0.01, 0.05, 0.1, 0.25] {
            let gamma = gamma(length);
            let back = ((gamma + 1.0) / ((gamma + 2.0).powi(2) * (gamma + 3.0))).sqrt();
            assert!((back - length).abs() < 1e-9, "{length}");
        }
    }

    #[test]
    fn an_average_of_another_length_is_made_of_kept_ones() {
        // A parameter that moves, and its averages as the kernel computes them.
        let steps = 4096u64;
        let parameter = |step: u64| (step as f64 / 300.0).sin() + step as f64 / 2000.0;
        let track = |length: f64| {
            let decay = Average::Power(length).decay();
            let mut average = 0.0;
            let mut all = vec![0.0];
            for step in 0..steps {
                average += decay.rate(step as f64) * (parameter(step) - average);
                all.push(average);
            }
            all
        };
        let lengths = [0.05, 0.10];
        let tracked = lengths.map(track);
        let kept: Vec<(f64, u64)> =
            (1..=16).flat_map(|part| lengths.map(|length| (length, part * steps / 16))).collect();
        let of = |(length, step): &(f64, u64)| {
            let which = usize::from(*length == lengths[1]);
            tracked[which][*step as usize]
        };
        for (length, step) in [(0.05, steps), (0.075, steps), (0.2, steps), (0.06, steps / 2)] {
            let weights = post_hoc(&kept, length, step).expect("different ones");
            let sum: f64 = weights.iter().sum();
            assert!((sum - 1.0).abs() < 0.01, "{length}: {sum}");
            let made: f64 = weights.iter().zip(&kept).map(|(weight, kept)| weight * of(kept)).sum();
            let exact = track(length)[step as usize];
            assert!((made - exact).abs() < 0.01 * exact.abs(), "{length}: {made}, {exact}");
            // One of the kept ones is no substitute for another length.
            let plain = tracked[1][step as usize];
            let near = (made - exact).abs() < 0.1 * (plain - exact).abs();
            assert!(near, "{length}: {made}, {exact}, {plain}");
        }
        assert!(post_hoc(&[], 0.1, 5).is_err());
        assert!(post_hoc(&kept, 0.3, 5).is_err());
    }
}
