//! What many ops share.
mod checks;
mod display;
mod elementwise;
pub(super) mod fold_slots;
pub(super) mod pads;
pub(super) mod pixel_tile;
pub(super) mod random;

pub(super) use checks::{ONE_WORKGROUP, bytes, check, elementwise_cost, floats, operands};
pub(super) use display::display;
pub(super) use elementwise::Elementwise;
pub(super) use random::example_key;
