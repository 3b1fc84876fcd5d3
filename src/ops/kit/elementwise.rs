//! Ops that compute each element of their result from the elements at its place.
use super::Check;
use crate::{
    error::{Error, ShapeError},
    graph::Equation,
    ops::{Backward, Gradients, Lowering, Operator, elementwise_cost},
    plan::{Cost, Dispatch},
    reference::Tensor,
    value::{TensorType, Value},
};
use std::fmt::{Debug, Display};

/// An op of operands of one type, whose result has their shape. Besides this it has a shader that
/// imports `elementwise`: its entry point is one expression.
pub(in crate::ops) trait Elementwise: Debug + Display + Send + Sync {
    /// The operands' names in messages.
    const OPERANDS: &'static [&'static str];
    /// Operations per element.
    const FLOPS: u64;

    /// An element of the result, from one of each operand.
    fn element(&self, operands: &[f64]) -> f64;

    /// [`Operator::vjp`].
    fn gradients(&self, _: &mut Backward, _: &Equation) -> Result<Gradients, Error> {
        Err(Error::NotDifferentiable { op: self.to_string() })
    }

    /// The dispatch that writes `y`, of type `of`.
    fn kernel(&self, operands: &[Value], y: Value, of: TensorType) -> Dispatch;

    /// Type of the result for operands of these types.
    fn result(&self, inputs: &[TensorType]) -> TensorType {
        inputs[0]
    }
}

impl<T: Elementwise> Operator for T {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let (check, names) = (Check::new(self, inputs), T::OPERANDS);
        if inputs.len() != names.len() {
            return Err(check.count(names.len()));
        }
        for (name, &of) in names.iter().zip(inputs) {
            check.floats(name, of)?;
            if of != inputs[0] {
                return Err(check.conflict(format!("{} differ in type", names.join(" and "))));
            }
        }
        let y = self.result(inputs);
        check.floats("y", y)?;
        Ok(vec![y])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let types: Vec<_> = inputs.iter().map(|x| TensorType::f32(&x.shape)).collect();
        let shape = self.result(&types).shape;
        let mut operands = vec![0.0; inputs.len()];
        let element = |place: usize| {
            operands.iter_mut().zip(inputs).for_each(|(operand, x)| *operand = x.data[place]);
            self.element(&operands)
        };
        vec![Tensor::new(shape, (0..shape.elements()).map(element).collect())]
    }

    fn vjp(&self, backward: &mut Backward, equation: &Equation) -> Result<Gradients, Error> {
        self.gradients(backward, equation)
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let (y, of) = (equation.outputs[0], lowering.type_of(equation.outputs[0]));
        Ok(lowering.push(self.kernel(&equation.inputs, y, of))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(T::FLOPS, inputs, &[self.result(inputs)])
    }
}
