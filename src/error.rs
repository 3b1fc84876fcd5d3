//! One error for callers, wrapping each floor's own.
use crate::{graph::GraphError, ops::{LoweringError, ShapeError}};

/// Anything that this crate can refuse or fail to do.
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
    /// The device, its absence, or its memory.
    #[error(transparent)]
    Gpu(#[from] crate::gpu::GpuError),
}
