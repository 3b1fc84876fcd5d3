//! Gaussian error linear unit, elementwise: Hendrycks and Gimpel 2016, eq. 2.
use super::{
    Backward, Case, Input, Lowering, Operator, display, elementwise_cost, floats, operands,
};
use crate::{
    error::{Error, ShapeError},
    graph::Equation,
    plan::{Cost, fold},
    reference::Tensor,
    shaders::gelu as shader,
    value::{TensorType, Value},
};
use std::f64::consts::{FRAC_1_SQRT_2, TAU};

/// `y = x P(x)`, with `P` the normal distribution, exact and not its tanh approximation; `x` and `y`
/// of any one type. In f32 `|y - x P(x)|` is at most 1e-6, or a rounding of `y` where that is more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gelu;

/// `dx = dy (P(x) + x exp(-x^2 / 2) / sqrt(2 pi))`; operands `x`, `dy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GeluBackward;

display!("gelu", Gelu);

display!("gelu_backward", GeluBackward);

/// The normal distribution.
pub(super) fn below(x: f64) -> f64 {
    0.5 * libm::erfc(-x * FRAC_1_SQRT_2)
}

pub(super) fn value(x: f64) -> f64 {
    x * below(x)
}

pub(super) fn slope(x: f64) -> f64 {
    below(x) + x * (-0.5 * x * x).exp() / TAU.sqrt()
}

impl Operator for Gelu {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let [x] = operands("gelu", inputs)?;
        floats("gelu", "x", x, inputs)?;
        Ok(vec![x])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        vec![inputs[0].map(value)]
    }

    fn vjp(
        &self,
        backward: &mut Backward,
        equation: &Equation,
    ) -> Result<Vec<Option<Value>>, Error> {
        let Some(dy) = backward.cotangent(0) else { return Ok(vec![None]) };
        Ok(vec![Some(backward.push(GeluBackward, &[equation.inputs[0], dy])?)])
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let vectors = lowering.type_of(equation.outputs[0]).vectors();
        let overrides = shader::Overrides::default();
        let params = shader::Params { vectors: vectors as u32 };
        let grid = fold(vectors.div_ceil(overrides.workgroup as usize));
        let kernel = shader::Forward { x: equation.inputs[0], y: equation.outputs[0] };
        Ok(lowering.push(kernel.dispatch(params, overrides, grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(26, inputs, &inputs[..1])
    }
}

impl Operator for GeluBackward {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let [x, dy] = operands("gelu_backward", inputs)?;
        floats("gelu_backward", "x", x, inputs)?;
        if x != dy {
            return Err(ShapeError::conflict("gelu_backward", "x and dy differ in type", inputs));
        }
        Ok(vec![x])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        vec![inputs[0].zip(inputs[1], |x, dy| dy * slope(x))]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let vectors = lowering.type_of(equation.outputs[0]).vectors();
        let overrides = shader::Overrides::default();
        let params = shader::Params { vectors: vectors as u32 };
        let grid = fold(vectors.div_ceil(overrides.workgroup as usize));
        let [x, dy, dx] = [equation.inputs[0], equation.inputs[1], equation.outputs[0]];
        let kernel = shader::Backward { x, dy, dx };
        Ok(lowering.push(kernel.dispatch(params, overrides, grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(28, inputs, &inputs[..1])
    }
}

pub(super) fn cases() -> Vec<Case> {
    let images = TensorType::f32(&[2, 7, 5, 5]);
    let wide = TensorType::f32(&[3, 8, 8, 32]);
    let extremes = TensorType::f32(&[1, 7]);
    let far = vec![-3e38, -100.0, -15.1, 0.0, 20.0, 88.0, 100.0];
    // No number here is above 1 in magnitude, so that the tolerance is near that of a rounding of 1:
    // the tail and its neighbourhood are where an erf made of a polynomial goes wrong.
    let tail = TensorType::f32(&[61, 16]);
    let falling = (0..tail.shape.elements()).map(|i| 0.8 - 0.02 * i as f64).collect();
    vec![
        Case::new(Gelu, vec![Input::normal(images)]).half(&[0]).name("odd channels"),
        Case::new(Gelu, vec![Input::shifted(wide, 0.0, 4.0)]).half(&[0]),
        Case::new(Gelu, vec![Input::values(extremes, far.clone())]).name("extremes"),
        Case::new(Gelu, vec![Input::values(tail, falling)]).name("tail"),
        Case::new(GeluBackward, vec![Input::normal(images), Input::normal(images)]).half(&[0, 1]),
        Case::new(GeluBackward, vec![Input::shifted(wide, 0.0, 4.0), Input::normal(wide)]),
        Case::new(GeluBackward, vec![Input::values(extremes, far), Input::normal(extremes)])
            .name("extremes"),
    ]
}
