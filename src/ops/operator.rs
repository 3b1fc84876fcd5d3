//! What an operation is: five facts, and what it promises.
use super::{Backward, Gradients, Lowering, elementwise_cost};
use crate::{
    error::{Error, ShapeError},
    graph::Equation,
    plan::Cost,
    reference::Tensor,
    value::TensorType,
};
use std::fmt::{Debug, Display};

/// The five facts of an operation.
pub trait Operator: Debug + Display + Send + Sync {
    /// Types of the outputs, or why the operands do not fit.
    ///
    /// # Errors
    /// Names the op, the operand, what it expects and what it found.
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError>;

    /// The definition: f64 arithmetic, naive loops. Operands fit, as `infer` found.
    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor>;

    /// Appends the equations of the gradient; one entry per input. An op that does not say how has no gradient.
    ///
    /// # Errors
    /// [`Error::NotDifferentiable`] if the op has no gradient.
    fn vjp(&self, _: &mut Backward, _: &Equation) -> Result<Gradients, Error> {
        Err(Error::NotDifferentiable { op: self.to_string() })
    }

    /// Appends the dispatches that compute the equation.
    ///
    /// They read its operands, write all of its results, and may do both with
    /// [`Lowering::scratch`] values, each written before it is read. Rows are padded with zeros to a
    /// multiple of four elements, and every kernel relies on the zeros: after a
    /// [custom](crate::plan::Dispatch::custom) dispatch the pad lanes of what it wrote are zeroed,
    /// unless it [does so itself](crate::plan::Dispatch::zeroes_pads).
    ///
    /// # Errors
    /// If the target cannot run it.
    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error>;

    /// Arithmetic and least memory traffic: for an op that does not say, none, and every operand read
    /// and every result written once.
    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(0, inputs, &self.infer(inputs).unwrap_or_default())
    }

    /// `(output, input)` pairs that share one buffer: state that is updated where it lies.
    fn in_place(&self) -> &[(usize, usize)] {
        &[]
    }

    /// Size of what is rounded on the way to the results, where those may be far smaller: the
    /// logarithm of a probability near 1 is as exact as the probability.
    fn scale(&self) -> f64 {
        0.0
    }

    /// What the kernels promise of numbers that are not finite.
    fn special(&self) -> Special {
        Special::Same
    }
}

/// What becomes of NaN and infinities in the operands, on the device against the reference;
/// [`verify::check_special`](crate::verify::check_special) holds each op to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// Each element is what the reference's is: finite, NaN, or infinite with its sign.
    Same,
    /// Each element is finite where the reference's is; NaN may stand for infinite, and the other
    /// way round.
    NotFinite,
    /// No element is finite where the reference's is not; its neighbours may be not finite too: a
    /// kernel multiplies by zeros that the definition leaves out, or takes differences.
    Spreads,
    /// As `Spreads` of NaN in an operand; what is infinite there may leave no trace.
    NanSpreads,
}
