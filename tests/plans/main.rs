//! Plans: passes over graphs, memory, sections, recomputation, limits.

mod accumulate;
mod attributes;
#[path = "../common/mod.rs"]
mod common;
mod depth;
mod limits;
mod memory;
mod minimal_filtering;
mod passes;
mod recompute;
mod sections;
