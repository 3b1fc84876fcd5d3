//! A value that is not what it may be.

/// A value that is not what it may be.
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
