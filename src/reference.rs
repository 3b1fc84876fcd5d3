//! Evaluates a graph on the CPU in f64, one equation after another: the definition that every
//! kernel is held against.
//!
//! ```
//! use ddim::{graph::Graph, ops::Linear, reference::{Tensor, evaluate}, value::TensorType};
//!
//! let of = TensorType::f32(&[2, 2]);
//! let mut graph = Graph::new();
//! let [x, weight] = [(); 2].map(|()| graph.input(of));
//! let y = graph.push(Linear, &[x, weight])?;
//! let tensor = |numbers: [f64; 4]| Tensor::new(of.shape, numbers.into());
//! let inputs = [(x, tensor([1.0, 2.0, 3.0, 4.0])), (weight, tensor([0.0, 1.0, 1.0, 0.0]))];
//! assert_eq!(evaluate(&graph, inputs.into())?[&y].data, [2.0, 1.0, 4.0, 3.0]);
//! # Ok::<(), ddim::Error>(())
//! ```
//!
//! A whole program, which holds kernels against it: `examples/custom_op.rs`.
use crate::{
    error::GraphError,
    graph::Graph,
    ops::Operator,
    value::{Shape, Value},
};
use std::collections::HashMap;

/// A dense, row-major tensor of f64.
///
/// Example: [`crate::reference`].
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Extents.
    pub shape: Shape,
    /// Elements, the innermost axis contiguous.
    pub data: Vec<f64>,
}

impl Tensor {
    /// A tensor with these elements.
    ///
    /// # Panics
    /// If their number is not that of the shape.
    pub fn new(shape: Shape, data: Vec<f64>) -> Self {
        assert_eq!(shape.elements(), data.len(), "{shape} does not hold {} elements", data.len());
        Self { shape, data }
    }

    /// A tensor of zeros.
    pub fn zeros(shape: Shape) -> Self {
        Self { shape, data: vec![0.0; shape.elements()] }
    }

    /// The tensor of `f` of every element.
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Self { shape: self.shape, data: self.data.iter().map(|&x| f(x)).collect() }
    }

    /// The tensor of `f` of every pair of elements of two tensors of one shape.
    pub fn zip(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Self {
        let pairs = self.data.iter().zip(&other.data);
        Self { shape: self.shape, data: pairs.map(|(&a, &b)| f(a, b)).collect() }
    }

    /// Largest magnitude.
    pub fn max_abs(&self) -> f64 {
        self.data.iter().fold(0.0, |max, x| max.max(x.abs()))
    }
}

/// `x` between `-limit` and `limit`, and NaN where one of them is.
pub(crate) fn clamp(x: f64, limit: f64) -> f64 {
    if x.is_nan() || limit.is_nan() { f64::NAN } else { x.max(-limit).min(limit) }
}

/// Values of a running evaluation.
///
/// Example: [`crate::reference`].
pub type Environment = HashMap<Value, Tensor>;

/// Runs every equation; the result holds the inputs given and everything computed.
///
/// # Errors
/// If an equation reads a value that was neither given nor computed.
///
/// Example: [`crate::reference`].
pub fn evaluate(graph: &Graph, inputs: Environment) -> Result<Environment, GraphError> {
    let mut environment = inputs;
    for (index, equation) in graph.equations.iter().enumerate() {
        let operand = |&value| {
            let undefined =
                || GraphError::Undefined { equation: index, op: equation.op.to_string(), value };
            environment.get(&value).ok_or_else(undefined)
        };
        let operands = equation.inputs.iter().map(operand).collect::<Result<Vec<_>, _>>()?;
        let results = equation.op.reference(&operands);
        environment.extend(equation.outputs.iter().copied().zip(results));
    }
    Ok(environment)
}
