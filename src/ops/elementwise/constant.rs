//! A tensor of one number: the seed of a gradient.
use crate::{
    error::{Error, ShapeError},
    graph::Equation,
    ops::{Backward, Case, Gradients, Lowering, Operator, elementwise_cost, floats, operands},
    plan::Cost,
    reference::Tensor,
    shaders::constant as shader,
    value::{Float, TensorType},
};
use std::fmt;

/// `y[..] = number`, of type `of`; no operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Constant {
    /// Type of the result.
    pub of: TensorType,
    /// Every element.
    pub number: Float,
}

impl fmt::Display for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "constant{{{}}}", self.number)
    }
}

impl Operator for Constant {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let [] = operands("constant", inputs)?;
        floats("constant", "y", self.of, inputs)?;
        Ok(vec![self.of])
    }

    fn reference(&self, _: &[&Tensor]) -> Vec<Tensor> {
        vec![Tensor::zeros(self.of.shape).map(|_| self.number.get())]
    }

    fn vjp(&self, _: &mut Backward, _: &Equation) -> Result<Gradients, Error> {
        Ok(Vec::new())
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let params = shader::Params {
            vectors: self.of.vectors() as u32,
            pitch: self.of.pitch() as u32 / 4,
            columns: self.of.shape.last() as u32,
            number: self.number.get() as f32,
        };
        let kernel = shader::Forward { y: equation.outputs[0] };
        Ok(lowering.push(kernel.over(params, self.of.vectors()))?)
    }

    fn cost(&self, _: &[TensorType]) -> Cost {
        elementwise_cost(0, &[], &[self.of])
    }
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let number = Float::from(0.7);
    [&[1][..], &[7, 5, 3], &[300, 8]]
        .map(|shape| Case::new(Constant { of: TensorType::f32(shape), number }, Vec::new()))
        .into()
}
