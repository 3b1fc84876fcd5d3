//! What was fastest on a device, which goes before the table.
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What was measured on one device: for each problem, the candidate that won.
///
/// Example: [`crate::tuner`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tuning {
    /// From a [`Problem`](super::Problem), printed, to a [`Candidate`](super::Candidate), printed.
    pub winners: BTreeMap<String, String>,
}
