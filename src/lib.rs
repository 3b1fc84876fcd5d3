//! Diffusion U-Nets in hand-written WGSL.

pub mod data;
pub mod diffusion;
pub mod error;
pub mod gpu;
pub mod graph;
pub mod ops;
pub mod passes;
pub mod plan;
pub mod reference;
pub mod shaders;
pub mod training;
pub mod unet;
pub mod value;
pub mod verify;
pub mod weights;

pub use error::Error;
pub use wgpu;
