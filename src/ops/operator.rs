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
///
/// ```
/// use ddim::ops::{Backward, Gradients, Lowering, Op, Operator};
/// use ddim::{Error, error::ShapeError, graph::{Equation, Graph}, passes};
/// use ddim::{plan::{Dispatch, Target}, reference::Tensor, value::TensorType};
///
/// const WGSL: &str = "
/// @group(0) @binding(1) var<storage, read> x: array<f32>;
/// @group(0) @binding(2) var<storage, read_write> y: array<f32>;
/// @compute @workgroup_size(1) fn double() {
///     for (var i = 0u; i < arrayLength(&x); i++) { y[i] = 2.0 * x[i]; }
/// }";
///
/// #[derive(Debug)]
/// struct Double;
///
/// # impl std::fmt::Display for Double {
/// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
/// #         f.write_str("double")
/// #     }
/// # }
/// #
/// impl Operator for Double {
///     fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
///         Ok(inputs.to_vec())
///     }
///     fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
///         vec![inputs[0].map(|x| 2.0 * x)]
///     }
///     fn vjp(&self, backward: &mut Backward, _: &Equation) -> Result<Gradients, Error> {
///         let dy = backward.dy();
///         Ok(vec![Some(backward.push(Op::custom(Double), &[dy])?)])
///     }
///     fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
///         let (x, y) = (equation.inputs[0], equation.outputs[0]);
///         Ok(lowering.push(Dispatch::custom(WGSL, "double").read(1, x).write(2, y))?)
///     }
/// }
///
/// let mut graph = Graph::new();
/// let [x, dy] = [(); 2].map(|()| graph.input(TensorType::f32(&[4])));
/// let y = graph.push(Op::custom(Double), &[x])?;
/// let dx = passes::gradient(&mut graph, y, dy, &[x])?;
/// graph.outputs.push(y);
/// graph.outputs.extend(dx.into_iter().flatten());
/// assert_eq!(passes::compile(&graph, &Target::default())?.dispatches().count(), 2);
/// # Ok::<(), ddim::Error>(())
/// ```
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
///
/// ```
/// use ddim::ops::{Add, Attention, Operator, Special};
///
/// assert_eq!(Add.special(), Special::Same);
/// assert_eq!(Attention::to_all(1).special(), Special::NanSpreads);
/// ```
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
