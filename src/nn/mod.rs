//! Neural networks: layers, the parameters they ask for, and where these lie in a graph.
//!
//! A [`Model`] builds itself from [`Layers`]. Tracing it once finds its parameters
//! ([`parameters`]); [`Arenas`] says where these lie on a device.
//! Their contents come from a [`ParameterSource`]: [`Weights`] holds them on the host.
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
