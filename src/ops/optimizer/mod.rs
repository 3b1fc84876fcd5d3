//! What a training step does besides the network: its row of rates, the norm of the gradients, the update.
pub(super) mod adam;
pub(super) mod global_norm;
pub(super) mod training_row;
