//! Settings that are one for all levels, or a list of one each.
use crate::error::Unexpected;
use serde::{Deserialize, Serialize};

/// A setting of every level of a U-Net.
///
/// ```
/// use ddim::models::PerLevel;
///
/// let [same, own] = [PerLevel::All(8), PerLevel::Each(vec![5, 10, 20])];
/// assert_eq!([same.at(2), own.at(2)], [&8, &20]);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "one value, or a list of one for each level")]
pub enum PerLevel<T> {
    /// One for each.
    Each(Vec<T>),
    /// The same for all.
    All(T),
}

impl<T> PerLevel<T> {
    /// That of a level.
    ///
    /// # Panics
    /// If a list ends before it.
    pub fn at(&self, level: usize) -> &T {
        match self {
            Self::Each(values) => &values[level],
            Self::All(value) => value,
        }
    }

    /// Checks that a list has this many entries.
    pub(super) fn check(&self, key: &str, levels: usize) -> Result<(), Unexpected> {
        match self {
            Self::Each(values) => {
                Unexpected::range(key, values.len(), levels, levels, "values in its list")
            }
            Self::All(_) => Ok(()),
        }
    }
}
