//! Gaussian error linear unit, elementwise: Hendrycks and Gimpel 2016, eq. 2.
use crate::ops::activation;
use std::f64::consts::{FRAC_1_SQRT_2, TAU};

activation! {
    /// `y = x P(x)`, with `P` the normal distribution, exact and not its tanh approximation; `x` and
    /// `y` of any one type. In f32 `|y - x P(x)|` is at most 1e-6, or a rounding of `y` where that is
    /// more.
    ///
    /// ```
    /// use ddim::{ops::{Gelu, GeluBackward, Operator}, reference::Tensor, value::Shape};
    ///
    /// let [x, dy] = [[0.0], [1.0]].map(|of| Tensor::new(Shape::new(&[1]), of.into()));
    /// assert_eq!(Gelu.reference(&[&x])[0].data, [0.0]);
    /// assert_eq!(GeluBackward.reference(&[&x, &dy])[0].data, [0.5]);
    /// ```
    Gelu: "gelu", 26, value;
    /// `dx = dy (P(x) + x exp(-x^2 / 2) / sqrt(2 pi))`; operands `x`, `dy`.
    ///
    /// Example: [`Gelu`].
    GeluBackward: "gelu_backward", 28, slope;
    shader: gelu;
    far: [-3e38, -100.0, -15.1, 0.0, 20.0, 88.0, 100.0];
    // No number here is above 1 in magnitude, so that the tolerance is near that of a rounding of 1:
    // the tail and its neighbourhood are where an erf made of a polynomial goes wrong.
    "tail": (0..976).map(|i| 0.8 - 0.02 * f64::from(i));
}

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
