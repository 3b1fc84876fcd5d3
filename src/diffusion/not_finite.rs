//! Numbers that are not finite: found on the device, read together with the results.
use crate::ops::{Counter, SamplingStep};
use std::fmt;

/// Where numbers that are infinite or NaN were found.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NotFinite {
    /// In a sampling run.
    #[error("step {step} of {steps}: {found_in} is not finite (NaN or infinite)")]
    Sampling {
        /// The first such step, counted from 1: the row of the table.
        step: usize,
        /// Steps of the run.
        steps: usize,
        /// What is not finite in it.
        found_in: FoundIn,
    },
    /// In a term of the variational bound.
    #[error("image {image} at timestep {timestep}: {found_in} is not finite (NaN or infinite)")]
    Bound {
        /// The image's number.
        image: u32,
        /// The timestep.
        timestep: usize,
        /// What is not finite.
        found_in: FoundIn,
    },
}

/// A tensor of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FoundIn {
    /// The sample before the step, which the caller wrote.
    Sample,
    /// What the network predicted, after guidance.
    Output,
    /// What an earlier step kept.
    Memory,
    /// What the step computed of finite numbers.
    Result,
}

impl fmt::Display for FoundIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sample => "the sample before the step",
            Self::Output => "the network's output",
            Self::Memory => "what an earlier step kept",
            Self::Result => "the result",
        })
    }
}

impl NotFinite {
    /// Of a row of [`VariationalBound`](crate::ops::VariationalBound)'s measures.
    ///
    /// # Errors
    /// [`NotFinite::Bound`] if the output or a term is not finite.
    pub fn check_bound(measures: [f32; 4], image: u32, timestep: usize) -> Result<(), Self> {
        let found_in = match measures {
            [.., bad] if bad != 0.0 => FoundIn::Output,
            measures if measures.iter().all(|number| number.is_finite()) => return Ok(()),
            _ => FoundIn::Result,
        };
        Err(Self::Bound { image, timestep, found_in })
    }

    /// What a sampling run of so many steps left in its counter.
    ///
    /// # Errors
    /// [`NotFinite::Sampling`] if a step met something.
    pub fn check(counter: Counter, steps: usize) -> Result<(), Self> {
        let Some(step) = counter.bad_step else { return Ok(()) };
        // What comes first in a step spoils the rest.
        let order = [
            (SamplingStep::BAD_SAMPLE, FoundIn::Sample),
            (SamplingStep::BAD_OUTPUT, FoundIn::Output),
            (SamplingStep::BAD_MEMORY, FoundIn::Memory),
        ];
        let first = order.into_iter().find(|(part, _)| counter.bad_parts & part != 0);
        let found_in = first.map_or(FoundIn::Result, |(_, found_in)| found_in);
        Err(Self::Sampling { step: step as usize + 1, steps, found_in })
    }
}
