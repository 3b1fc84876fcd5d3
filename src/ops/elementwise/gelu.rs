//! Gaussian error linear unit, elementwise: Hendrycks and Gimpel 2016, eq. 2.
use crate::{
    error::Error,
    graph::Equation,
    ops::{Backward, Case, Elementwise, Gradients, Input, display},
    plan::Dispatch,
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
pub(in crate::ops) fn below(x: f64) -> f64 {
    0.5 * libm::erfc(-x * FRAC_1_SQRT_2)
}

pub(in crate::ops) fn value(x: f64) -> f64 {
    x * below(x)
}

pub(in crate::ops) fn slope(x: f64) -> f64 {
    below(x) + x * (-0.5 * x * x).exp() / TAU.sqrt()
}

impl Elementwise for Gelu {
    const NAME: &'static str = "gelu";
    const OPERANDS: &'static [&'static str] = &["x"];
    const FLOPS: u64 = 26;

    fn element(&self, operands: &[f64]) -> f64 {
        value(operands[0])
    }

    fn gradients(&self, backward: &mut Backward, equation: &Equation) -> Result<Gradients, Error> {
        let dy = backward.dy();
        Ok(vec![Some(backward.push(GeluBackward, &[equation.inputs[0], dy])?)])
    }

    fn kernel(&self, operands: &[Value], y: Value, of: TensorType) -> Dispatch {
        let params = shader::Params { vectors: of.vectors() as u32 };
        shader::Forward { x: operands[0], y }.over(params, of.vectors())
    }
}

impl Elementwise for GeluBackward {
    const NAME: &'static str = "gelu_backward";
    const OPERANDS: &'static [&'static str] = &["x", "dy"];
    const FLOPS: u64 = 28;

    fn element(&self, operands: &[f64]) -> f64 {
        operands[1] * slope(operands[0])
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
