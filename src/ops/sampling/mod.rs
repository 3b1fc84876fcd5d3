//! What a step of a sampler does besides the network.
pub(super) mod corrector_size;
pub(super) mod dynamic_threshold;
pub(super) mod guidance;
pub(super) mod row;
pub(super) mod step;
