//! Everything that can go wrong, as plain data: one file for each floor's errors, and [`Error`], which
//! wraps them. Nothing here imports more than [`value`](crate::value).
//!
//! ```
//! use ddim::{Error, error::ShapeError, graph::Graph, ops::Add, value::TensorType};
//!
//! let mut graph = Graph::new();
//! let [x, y] = [4, 5].map(|extent| graph.input(TensorType::f32(&[extent])));
//! match graph.push(Add, &[x, y]) {
//!     Err(Error::Shape(error @ ShapeError::Conflict { .. })) => {
//!         assert_eq!(error.to_string(), "add: a and b differ in type (operands: f32[4], f32[5])");
//!     }
//!     other => panic!("{other:?}"),
//! }
//! ```
mod data;
mod file;
mod gpu;
mod graph;
mod json;
mod lowering;
mod model;
mod not_finite;
mod picture;
mod schedule;
mod shape;
mod training;
mod unexpected;
mod verify;
mod weights;

pub use data::DataError;
pub use file::FileError;
pub use gpu::GpuError;
pub use graph::GraphError;
pub use json::JsonError;
pub use lowering::LoweringError;
pub use model::ConfigError;
pub use not_finite::{FoundIn, NotFinite};
pub use picture::PictureError;
pub use schedule::ScheduleError;
pub use shape::ShapeError;
pub use training::TrainingError;
pub use unexpected::Unexpected;
pub use verify::{CaseError, CasesError, Mismatch, NumberClass};
pub use weights::WeightsError;

use crate::value::TensorType;

/// Anything that this crate can refuse or fail to do.
///
/// ```
/// use ddim::{Error, error::{ConfigError, WeightsError}, models::unet2d::UNetConfig, weights};
///
/// // `?` makes one error of those of every module.
/// fn channels_and_tensors(config: &str, file: &[u8]) -> Result<(usize, usize), Error> {
///     let config = UNetConfig::parse(config)?;
///     let tensors = weights::parse_tensors("weights.safetensors".as_ref(), file)?;
///     Ok((config.in_channels, tensors.len()))
/// }
/// let refused = channels_and_tensors("[]", b"");
/// assert!(matches!(refused, Err(Error::Config(ConfigError::Json(_)))));
/// let refused = channels_and_tensors("{}", b"no tensors");
/// assert!(matches!(refused, Err(Error::Weights(WeightsError::Format { .. }))));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Operands that do not fit an op.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// A malformed graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// An equation that cannot run on the target.
    #[error(transparent)]
    Lowering(#[from] LoweringError),
    /// A gradient was asked for through an op that has none.
    #[error("{op} has no gradient rule")]
    NotDifferentiable {
        /// The op's printed form.
        op: String,
    },
    /// A model asks for a parameter that was not given.
    #[error("the model needs parameter {name}, which was not given")]
    MissingParameter {
        /// The parameter's name.
        name: String,
    },
    /// Numbers of an adapter that the model has not.
    #[error("the model has no adapter {name}")]
    Adapter {
        /// The parameter's name.
        name: String,
    },
    /// Class labels that do not fit the model.
    #[error("the model takes labels {}, found {}", or_none(expected), or_none(found))]
    Labels {
        /// What it takes.
        expected: Option<TensorType>,
        /// What it got.
        found: Option<TensorType>,
    },
    /// A context that does not fit the model.
    #[error("the model takes a context {}, found {}", or_none(expected), or_none(found))]
    Context {
        /// What it takes.
        expected: Option<TensorType>,
        /// What it got.
        found: Option<TensorType>,
    },
    /// Vectors that do not fit the model.
    #[error("the model takes vectors {}, found {}", or_none(expected), or_none(found))]
    Vector {
        /// What it takes.
        expected: Option<TensorType>,
        /// What it got.
        found: Option<TensorType>,
    },
    /// A class that the model does not have.
    #[error("class {found}: the model has {classes} classes, counted from 0")]
    Class {
        /// The class.
        found: u32,
        /// How many there are.
        classes: u32,
    },
    /// A file of a run or pipeline that could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A model's configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A noise schedule or sampling table.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// Numbers that a sampler or an evaluation met and that are not finite.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
    /// Images.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Pictures to write.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// Weights in files.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Training.
    #[error(transparent)]
    Training(#[from] TrainingError),
    /// Reference cases in files.
    #[error(transparent)]
    Cases(#[from] CasesError),
    /// The device, its absence, or its memory.
    #[error(transparent)]
    Gpu(#[from] GpuError),
}

fn or_none(of: &Option<TensorType>) -> String {
    of.map_or("none".to_owned(), |of| of.to_string())
}
