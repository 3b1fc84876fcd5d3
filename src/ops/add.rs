//! Sum of two tensors of one type.
use super::{
    Backward, Case, Input, Lowering, Operator, display, elementwise_cost, floats, operands,
};
use crate::{
    error::{Error, ShapeError},
    graph::Equation,
    plan::{Cost, fold},
    reference::Tensor,
    shaders::add as shader,
    value::{TensorType, Value},
};

/// `y = a + b`; the residual connection, and what autodiff joins gradients with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Add;

display!("add", Add);

impl Operator for Add {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let [a, b] = operands("add", inputs)?;
        if a != b {
            return Err(ShapeError::conflict("add", "a and b differ in type", inputs));
        }
        floats("add", "a", a, inputs)?;
        Ok(vec![a])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        vec![inputs[0].zip(inputs[1], |a, b| a + b)]
    }

    fn vjp(&self, backward: &mut Backward, _: &Equation) -> Result<Vec<Option<Value>>, Error> {
        let dy = backward.cotangent(0);
        Ok(vec![dy, dy])
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let vectors = lowering.type_of(equation.outputs[0]).vectors();
        let overrides = shader::Overrides::default();
        let params = shader::Params { vectors: vectors as u32 };
        let grid = fold(vectors.div_ceil(overrides.workgroup as usize));
        let [a, b, y] = [equation.inputs[0], equation.inputs[1], equation.outputs[0]];
        Ok(lowering.push(shader::Forward { a, b, y }.dispatch(params, overrides, grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(1, inputs, &inputs[..1])
    }
}

pub(super) fn cases() -> Vec<Case> {
    [&[1, 7, 5, 3][..], &[2, 8, 8, 32], &[5]]
        .map(|shape| {
            let of = TensorType::f32(shape);
            Case::new(Add, vec![Input::normal(of), Input::normal(of)]).half(&[0, 1])
        })
        .into()
}
