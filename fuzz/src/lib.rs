//! The formats, shared with the test of the crate.
#[path = "../../tests/mutation/mod.rs"]
pub mod mutation;
