//! Dialects: parameter names and axis orders of other libraries' checkpoints.
//!
//! To add one: a file here with its names.
mod diffusers;
mod layout;

pub use diffusers::canonical_name;
pub use layout::Layout;
