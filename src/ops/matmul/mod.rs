//! Linear layers, which are convolutions of one tap, and the gradient of their bias.
pub(super) mod linear;
pub(super) mod sum_rows;
