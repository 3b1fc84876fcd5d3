//! Diffusion U-Nets in hand-written WGSL.
#![doc = ""]

pub mod error;
pub mod gpu;
pub mod graph;
pub mod ops;
pub mod passes;
pub mod plan;
pub mod reference;
pub mod shaders;
pub mod value;
pub mod verify;

pub use error::Error;
pub use wgpu;
