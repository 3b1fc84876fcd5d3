//! What can be wrong with a graph.
use crate::value::{TensorType, Value};

/// A malformed graph: a defect of whoever built it, or of a pass.
///
/// ```
/// use ddim::{Error, error::GraphError, graph::Graph, ops::Silu, value::TensorType};
///
/// let [mut graph, mut other] = [Graph::new(), Graph::new()];
/// let x = other.input(TensorType::f32(&[4]));
/// match graph.push(Silu, &[x]) {
///     Err(Error::Graph(GraphError::Foreign { value, .. })) => assert_eq!(value, x),
///     result => panic!("{result:?}"),
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// A value is of another graph.
    #[error("{user} is given {value}, a value of another graph")]
    Foreign {
        /// What it is given to.
        user: String,
        /// The value.
        value: Value,
    },
    /// An equation reads a value that nothing before it defines.
    #[error("equation {equation} ({op}) reads {value}, which nothing before it defines")]
    Undefined {
        /// Position of the equation.
        equation: usize,
        /// Its op.
        op: String,
        /// The value.
        value: Value,
    },
    /// Two sections of one name, or equations that are not in the order of their sections.
    #[error("sections must have different names, and equations must stand in their order")]
    Sections,
    /// An input is of a type that kernels cannot count.
    #[error(
        "input {value} ({of}) must have 1 to {} elements, pad lanes included",
        TensorType::MAX_ELEMENTS
    )]
    Size {
        /// The input.
        value: Value,
        /// Its type.
        of: TensorType,
    },
    /// An equation does not name all its results.
    #[error("equation {equation} ({op}) names {found} results; there are {expected}")]
    Results {
        /// Position of the equation.
        equation: usize,
        /// Its op.
        op: String,
        /// Results that the op infers.
        expected: usize,
        /// Results that the equation names.
        found: usize,
    },
    /// A value is defined twice.
    #[error("equation {equation} ({op}) defines {value} a second time")]
    Redefined {
        /// Position of the equation.
        equation: usize,
        /// Its op.
        op: String,
        /// The value.
        value: Value,
    },
    /// The recorded type is not what the op infers.
    #[error("{value} is recorded as {recorded}, but {op} gives {inferred}")]
    Type {
        /// The value.
        value: Value,
        /// The op that defines it.
        op: String,
        /// Type in the table.
        recorded: TensorType,
        /// Type that the op infers.
        inferred: TensorType,
    },
    /// An output or update names an undefined value, or an update's state is no input.
    #[error("{role} {value} is {problem}")]
    Dangling {
        /// `output`, `update state` or `update`.
        role: &'static str,
        /// The value.
        value: Value,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An update would change the type of its state.
    #[error("update of {state} ({expected}) with {next} ({found})")]
    UpdateType {
        /// The state.
        state: Value,
        /// Its type.
        expected: TensorType,
        /// The next contents.
        next: Value,
        /// Their type.
        found: TensorType,
    },
}
