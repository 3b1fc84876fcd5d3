//! Normalization: over groups of channels, and over a row.
pub(super) mod group_norm;
pub(super) mod layer_norm;
