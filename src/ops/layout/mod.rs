//! Ops that move numbers without computing any.
pub(super) mod arena;
pub(super) mod concat;
pub(super) mod gather_rows;
