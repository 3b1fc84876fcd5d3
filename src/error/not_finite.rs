//! Numbers of a sampler or an evaluation that are not finite.

/// Where numbers that are infinite or NaN were found.
///
/// ```
/// use ddim::error::{FoundIn, NotFinite};
///
/// let error = NotFinite::Sampling { step: 3, steps: 50, found_in: FoundIn::Output };
/// let text = "step 3 of 50: the network's output is not finite (NaN or infinite)";
/// assert_eq!(error.to_string(), text);
/// ```
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
    Vlb {
        /// The image's number.
        image: u32,
        /// The timestep.
        timestep: usize,
        /// What is not finite.
        found_in: FoundIn,
    },
}

/// A tensor of a step.
///
/// Example: [`NotFinite`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FoundIn {
    /// The sample before the step, which the caller wrote.
    #[error("the sample before the step")]
    Sample,
    /// What the network predicted, after guidance.
    #[error("the network's output")]
    Output,
    /// What an earlier step kept.
    #[error("what an earlier step kept")]
    Memory,
    /// The gradient of a classifier that guides.
    #[error("the classifier's gradient")]
    Gradient,
    /// What the step computed of finite numbers.
    #[error("the result")]
    Result,
}
