//! A straight line through every element.
use super::{
    Backward, Case, Input, Lowering, Operator, display, elementwise_cost, floats, operands,
};
use crate::{
    error::{Error, ShapeError},
    graph::Equation,
    plan::{Cost, fold},
    reference::Tensor,
    shaders::scale as shader,
    value::{Float, TensorType, Value},
};

/// `y = scale x + shift`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scale {
    /// The slope.
    pub scale: Float,
    /// The value at zero.
    pub shift: Float,
}

display!("scale", Scale { scale, shift });

impl Operator for Scale {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let [x] = operands("scale", inputs)?;
        floats("scale", "x", x, inputs)?;
        Ok(vec![x])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        vec![inputs[0].map(|x| self.scale.get() * x + self.shift.get())]
    }

    fn vjp(&self, backward: &mut Backward, _: &Equation) -> Result<Vec<Option<Value>>, Error> {
        let Some(dy) = backward.cotangent(0) else {
            return Ok(vec![None]);
        };
        let slope = Self { shift: 0.0.into(), ..*self };
        Ok(vec![Some(backward.push(slope, &[dy])?)])
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [x, y] = [equation.inputs[0], equation.outputs[0]];
        let of = lowering.type_of(x);
        let overrides = shader::Overrides::default();
        let params = shader::Params {
            rows: of.rows() as u32,
            channels: of.shape.last() as u32,
            channels4: of.pitch() as u32 / 4,
            scale: self.scale.get() as f32,
            shift: self.shift.get() as f32,
        };
        let invocations = of.rows().div_ceil(overrides.rows as usize) * of.pitch() / 4;
        let grid = fold(invocations.div_ceil(overrides.workgroup as usize));
        Ok(lowering.push(shader::Forward { x, y }.dispatch(params, overrides, grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(2, inputs, &inputs[..1])
    }
}

pub(super) fn cases() -> Vec<Case> {
    [(&[2, 7, 5, 3][..], 2.0, -1.0), (&[3, 8, 8, 32], 0.7, 0.0), (&[5], -1.0, 0.5)]
        .into_iter()
        .map(|(shape, scale, shift)| {
            let op = Scale { scale: scale.into(), shift: shift.into() };
            Case::new(op, vec![Input::normal(TensorType::f32(shape))]).terms(2).half(&[0])
        })
        .collect()
}
