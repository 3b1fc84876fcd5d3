//! Ops that compute each element, or each pixel, on its own.
pub(super) mod add;
pub(super) mod add_embedding;
pub(super) mod cast;
pub(super) mod constant;
pub(super) mod geglu;
pub(super) mod gelu;
pub(super) mod modulate;
pub(super) mod scale;
pub(super) mod silu;
pub(super) mod timestep_embedding;
