//! Sigmoid-weighted linear unit, elementwise: Elfwing et al. 2017, eq. 3.
use crate::{
    error::Error,
    graph::Equation,
    ops::{Backward, Case, Elementwise, Gradients, Input, display},
    plan::Dispatch,
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

impl Elementwise for Silu {
    const NAME: &'static str = "silu";
    const OPERANDS: &'static [&'static str] = &["x"];
    const FLOPS: u64 = 4;

    fn element(&self, operands: &[f64]) -> f64 {
        operands[0] * sigmoid(operands[0])
    }

    fn gradients(&self, backward: &mut Backward, equation: &Equation) -> Result<Gradients, Error> {
        let dy = backward.dy();
        Ok(vec![Some(backward.push(SiluBackward, &[equation.inputs[0], dy])?)])
    }

    fn kernel(&self, operands: &[Value], y: Value, of: TensorType) -> Dispatch {
        let params = shader::Params { vectors: of.vectors() as u32 };
        shader::Forward { x: operands[0], y }.over(params, of.vectors())
    }
}

impl Elementwise for SiluBackward {
    const NAME: &'static str = "silu_backward";
    const OPERANDS: &'static [&'static str] = &["x", "dy"];
    const FLOPS: u64 = 6;

    fn element(&self, operands: &[f64]) -> f64 {
        let (x, s) = (operands[0], sigmoid(operands[0]));
        operands[1] * (s + x * s * (1.0 - s))
    }

    fn kernel(&self, operands: &[Value], y: Value, of: TensorType) -> Dispatch {
        let params = shader::Params { vectors: of.vectors() as u32 };
        let kernel = shader::Backward { x: operands[0], dy: operands[1], dx: y };
        kernel.over(params, of.vectors())
    }
}

pub(in crate::ops) fn cases() -> Vec<Case> {
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
