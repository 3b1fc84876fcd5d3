//! Kernels against the f64 reference, their gradients, and which of them lowering offers.

mod activations;
mod bands;
mod bench_cases;
mod case_limits;
mod choice;
#[path = "../common/mod.rs"]
mod common;
mod custom_bindings;
mod custom_op;
mod element_types;
mod fusion;
mod gradients;
mod loop_iterations;
mod prefers;
mod random;
mod roofline;
mod textures;
mod tolerance;
mod tuner;
mod unkept_forms;
mod winograd_parts;
mod winograd_tiled;
