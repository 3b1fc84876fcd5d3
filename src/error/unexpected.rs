//! A value that is not what it may be.

/// A value that is not what it may be.
///
/// ```
/// use ddim::{data::Moments, diffusion::schedule::SchedulerConfig};
/// use ddim::error::{DataError, ScheduleError};
///
/// match SchedulerConfig::default().timesteps(2000) {
///     Err(ScheduleError::Value(wrong)) => {
///         assert_eq!(wrong.to_string(), "steps: expected 1 to 1000, found 2000");
///     }
///     result => panic!("{result:?}"),
/// }
/// // Three numbers are not two vectors of two.
/// let refused = Moments::of_vectors(vec![1.0; 3], 2);
/// assert!(matches!(refused, Err(DataError::Value(wrong)) if wrong.found == "3"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: expected {expected}, found {found}")]
pub struct Unexpected {
    /// The setting or number.
    pub name: String,
    /// What it may be.
    pub expected: String,
    /// What it is.
    pub found: String,
}

impl Unexpected {
    pub(crate) fn new(name: &str, expected: impl ToString, found: impl ToString) -> Self {
        let (expected, found) = (expected.to_string(), found.to_string());
        Self { name: name.into(), expected, found }
    }

    /// An error unless `found` is `least..=most`, which count `unit`.
    pub(crate) fn range(
        name: &str,
        found: usize,
        least: usize,
        most: usize,
        unit: &str,
    ) -> Result<(), Self> {
        let expected = match least == most {
            true => format!("{least} {unit}"),
            false => format!("{least} to {most} {unit}"),
        };
        Self::check((least..=most).contains(&found), name, expected, found)
    }

    /// An error unless the value fits.
    pub(crate) fn check(
        fits: bool,
        name: &str,
        expected: impl ToString,
        found: impl ToString,
    ) -> Result<(), Self> {
        if fits { Ok(()) } else { Err(Self::new(name, expected, found)) }
    }
}
