//! Ops that draw random numbers, or count the steps that these depend on.
pub(super) mod add_noise;
pub(super) mod counter;
pub(super) mod draw;
pub(super) mod drop_labels;
pub(super) mod dropout;
pub(super) mod importance;
