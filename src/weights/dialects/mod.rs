//! Dialects: parameter names and axis orders of other libraries' checkpoints.
//!
//! To add one: a file here with its names, and a variant of [`Names`].
mod adm;
mod clip;
mod ddim;
mod diffusers;
mod layout;
mod names;
mod origin;

pub use adm::{Adm, Heads};
pub use diffusers::canonical_name;
pub use layout::Layout;
pub use names::Names;
pub(super) use origin::{Origin, Rows};
