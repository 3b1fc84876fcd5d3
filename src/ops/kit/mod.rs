//! What many ops share.
pub(super) mod activation;
mod checks;
mod display;
mod elementwise;
pub(super) mod fold_slots;
pub(super) mod pads;
pub(super) mod pixel_tile;
pub(super) mod prelude;
pub(super) mod random;

pub(super) use activation::activation;
pub(super) use checks::{Check, ONE_WORKGROUP, check, elementwise_cost, fitted, floats, operands};
pub(super) use display::display;
pub(super) use elementwise::Elementwise;
pub(super) use random::example_key;
