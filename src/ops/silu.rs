//! Sigmoid-weighted linear unit, elementwise: Elfwing et al. 2017, eq. 3.
use super::{
    Backward, Case, Input, Lowering, Operator, display, elementwise_cost, floats, operands,
};
use crate::{
    error::{Error, ShapeError},
    graph::Equation,
    plan::{Cost, fold},
    reference::Tensor,
    shaders::silu as shader,
    value::{TensorType, Value},
};

/// `y = x / (1 + exp(-x))`; `x` and `y` of any one type. In f32 `|error / y|` is at most
/// `(2 + |x|) 2^-23`: the exponential of a number that is rounded once is off by that much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Silu;

/// `dx = dy (s + x s (1 - s))` with `s = 1 / (1 + exp(-x))`; operands `x`, `dy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SiluBackward;

display!("silu", Silu);

display!("silu_backward", SiluBackward);

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

impl Operator for Silu {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let [x] = operands("silu", inputs)?;
        floats("silu", "x", x, inputs)?;
        Ok(vec![x])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        vec![inputs[0].map(|x| x * sigmoid(x))]
    }

    fn vjp(
        &self,
        backward: &mut Backward,
        equation: &Equation,
    ) -> Result<Vec<Option<Value>>, Error> {
        let Some(dy) = backward.cotangent(0) else { return Ok(vec![None]) };
        Ok(vec![Some(backward.push(SiluBackward, &[equation.inputs[0], dy])?)])
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
        elementwise_cost(4, inputs, &inputs[..1])
    }
}

impl Operator for SiluBackward {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let [x, dy] = operands("silu_backward", inputs)?;
        floats("silu_backward", "x", x, inputs)?;
        if x != dy {
            return Err(ShapeError::conflict("silu_backward", "x and dy differ in type", inputs));
        }
        Ok(vec![x])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        vec![inputs[0].zip(inputs[1], |x, dy| {
            let s = sigmoid(x);
            dy * (s + x * s * (1.0 - s))
        })]
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
        elementwise_cost(6, inputs, &inputs[..1])
    }
}

pub(super) fn cases() -> Vec<Case> {
    let images = TensorType::f32(&[2, 7, 5, 5]);
    let wide = TensorType::f32(&[3, 8, 8, 32]);
    let extremes = TensorType::f32(&[1, 6]);
    let far = vec![-100.0, -20.0, 0.0, 20.0, 88.0, 100.0];
    // Where the slope is near 1, and an error of `1 - s` counts x times.
    let right = TensorType::f32(&[61, 16]);
    let rising = (0..right.shape.elements()).map(|i| 2.0 + 0.01 * i as f64).collect();
    let ones = vec![1.0; right.shape.elements()];
    vec![
        Case::new(Silu, vec![Input::normal(images)]).half(&[0]).name("odd channels"),
        Case::new(Silu, vec![Input::shifted(wide, 0.0, 4.0)]).half(&[0]),
        Case::new(Silu, vec![Input::values(extremes, far.clone())]).name("extremes"),
        Case::new(SiluBackward, vec![Input::normal(images), Input::normal(images)]).half(&[0, 1]),
        Case::new(SiluBackward, vec![Input::values(extremes, far), Input::normal(extremes)])
            .name("extremes"),
        Case::new(SiluBackward, vec![Input::values(right, rising), Input::values(right, ones)])
            .name("right of zero"),
    ]
}
