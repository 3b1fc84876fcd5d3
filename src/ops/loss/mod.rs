//! Losses and their gradients.
pub(super) mod image_squared_error;
pub(super) mod mean_loss;
pub(super) mod mean_squared_error;
pub(super) mod softmax_cross_entropy;
pub(super) mod variational_bound;
