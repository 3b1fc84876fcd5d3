//! Neural networks: layers, the parameters they ask for, and where these lie in a graph.
//!
//! A [`Model`] builds itself from [`Layers`]. Tracing it once finds its parameters
//! ([`parameters`]); [`Arenas`] says where these lie on a device.
//! Their contents come from a [`ParameterSource`]: [`Weights`] holds them on the host.
//!
//! ```
//! use ddim::{graph::Graph, nn::{Weights, trace}, value::TensorType};
//!
//! let (parameters, y) = trace(Graph::new(), |layers| {
//!     let x = layers.graph.input(TensorType::f32(&[8, 4]));
//!     let h = layers.linear("first", x, 16)?;
//!     let h = layers.silu(h)?;
//!     let y = layers.linear("last", h, 1)?;
//!     Ok(layers.graph.type_of(y))
//! })?;
//! assert_eq!(y, TensorType::f32(&[8, 1]));
//! assert_eq!(Weights::initial(&parameters, 7).elements(), (4 * 16 + 16) + (16 + 1));
//! # Ok::<(), ddim::Error>(())
//! ```
//!
//! Whole programs: `examples/regression.rs`, and with a [`Model`] `examples/own_model.rs`.
mod adapters;
mod arena;
mod frozen;
mod layers;
mod model;
mod parameters;
#[cfg(test)]
mod tests;
mod weights;

pub use adapters::{AdaptedWeights, Adapters, LORA_DOWN, LORA_UP};
pub use arena::{Arenas, Piece, Place, Views};
pub use frozen::{FrozenModel, FrozenParameters};
pub use layers::{Layers, trace};
pub use model::{Condition, ElementTypes, Model, ModelInputs, parameters};
pub use parameters::{Initial, ParameterSpec};
pub use weights::{Parameter, ParameterSource, Weights};
