//! Operands that do not fit an op.
use crate::value::TensorType;
use std::fmt::Display;

/// Operands that do not fit an op. Every message ends with the types of all operands.
///
/// Example: [`crate::error`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShapeError {
    /// The op takes another number of operands.
    #[error("{op}: takes {expected} operands, found {found} (operands: {})", list(operands))]
    Count {
        /// The op.
        op: String,
        /// How many it takes.
        expected: String,
        /// How many it was given.
        found: usize,
        /// Types of all operands.
        operands: Vec<TensorType>,
    },
    /// One operand, or one attribute of the op, is not what it must be.
    #[error("{op}: {operand} must be {expected}, found {found} (operands: {})", list(operands))]
    Operand {
        /// The op.
        op: String,
        /// Name of the operand or attribute.
        operand: String,
        /// What it must be.
        expected: String,
        /// What it is.
        found: String,
        /// Types of all operands.
        operands: Vec<TensorType>,
    },
    /// Operands and attributes that do not go together.
    #[error("{op}: {problem} (operands: {})", list(operands))]
    Conflict {
        /// The op.
        op: String,
        /// What does not go together.
        problem: String,
        /// Types of all operands.
        operands: Vec<TensorType>,
    },
}

impl ShapeError {
    /// A [`ShapeError::Count`].
    pub fn count(op: impl Display, expected: impl Display, operands: &[TensorType]) -> Self {
        Self::Count {
            op: op.to_string(),
            expected: expected.to_string(),
            found: operands.len(),
            operands: operands.to_vec(),
        }
    }

    /// A [`ShapeError::Operand`].
    pub fn operand(
        op: impl Display,
        operand: impl Display,
        expected: impl Display,
        found: impl Display,
        operands: &[TensorType],
    ) -> Self {
        Self::Operand {
            op: op.to_string(),
            operand: operand.to_string(),
            expected: expected.to_string(),
            found: found.to_string(),
            operands: operands.to_vec(),
        }
    }

    /// A [`ShapeError::Conflict`].
    pub fn conflict(op: impl Display, problem: impl Display, operands: &[TensorType]) -> Self {
        Self::Conflict {
            op: op.to_string(),
            problem: problem.to_string(),
            operands: operands.to_vec(),
        }
    }
}

fn list(operands: &[TensorType]) -> String {
    operands.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
