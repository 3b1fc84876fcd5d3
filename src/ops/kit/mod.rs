//! What many ops share.
mod display;

pub(super) use display::display;
