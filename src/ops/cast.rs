//! Another storage type.
use super::{Backward, Case, Input, Lowering, Operator, display, elementwise_cost, operands};
use crate::{
    error::{Error, ShapeError},
    graph::Equation,
    plan::{Cost, fold},
    reference::Tensor,
    shaders::cast as shader,
    value::{ElementType, TensorType, Value},
};

/// `y = x` in another storage, rounded once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cast {
    /// Storage of the result: f32 or f16.
    pub to: ElementType,
}

display!("cast", Cast { to });

impl Operator for Cast {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let [x] = operands("cast", inputs)?;
        if [x.element, self.to].contains(&ElementType::U32) {
            let message = format!("x and y must be floats, found {} and {}", x.element, self.to);
            return Err(ShapeError::conflict("cast", message, inputs));
        }
        Ok(vec![x.with_element(self.to)])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        vec![inputs[0].clone()]
    }

    fn vjp(
        &self,
        backward: &mut Backward,
        equation: &Equation,
    ) -> Result<Vec<Option<Value>>, Error> {
        let Some(dy) = backward.cotangent(0) else {
            return Ok(vec![None]);
        };
        let to = backward.type_of(equation.inputs[0]).element;
        Ok(vec![Some(backward.push(Self { to }, &[dy])?)])
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [x, y] = [equation.inputs[0], equation.outputs[0]];
        let vectors = lowering.type_of(x).vectors();
        let overrides = shader::Overrides::default();
        let params = shader::Params { vectors: vectors as u32 };
        let grid = fold(vectors.div_ceil(overrides.workgroup as usize));
        Ok(lowering.push(shader::Forward { x, y }.dispatch(params, overrides, grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(0, inputs, &[inputs[0].with_element(self.to)])
    }
}

pub(super) fn cases() -> Vec<Case> {
    let (f32, f16) = (ElementType::F32, ElementType::F16);
    [(f32, f16), (f16, f32), (f32, f32)]
        .map(|(from, to)| {
            let x = TensorType::f32(&[2, 7, 5, 3]).with_element(from);
            Case::new(Cast { to }, vec![Input::normal(x)])
        })
        .into()
}
