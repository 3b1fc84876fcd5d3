//! How other people's checkpoints name parameters and order their axes.
//!
//! To add one: a file here with its names.
mod diffusers;
mod layout;

pub use diffusers::canonical_name;
pub use layout::Layout;
