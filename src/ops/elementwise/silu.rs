//! Sigmoid-weighted linear unit, elementwise: Elfwing et al. 2017, eq. 3.
use crate::ops::activation;

activation! {
    /// `y = x / (1 + exp(-x))`; `x` and `y` of any one type. In f32 `|error / y|` is at most
    /// `(2 + |x|) 2^-23`: the exponential of a number that is rounded once is off by that much.
    ///
    /// ```
    /// use ddim::{ops::{Operator, Silu, SiluBackward}, reference::Tensor, value::Shape};
    ///
    /// let [x, dy] = [[0.0], [1.0]].map(|of| Tensor::new(Shape::new(&[1]), of.into()));
    /// assert_eq!(Silu.reference(&[&x])[0].data, [0.0]);
    /// assert_eq!(SiluBackward.reference(&[&x, &dy])[0].data, [0.5]);
    /// ```
    Silu: "silu", 4, value;
    /// `dx = dy (s + x s (1 - s))` with `s = 1 / (1 + exp(-x))`; operands `x`, `dy`.
    ///
    /// Example: [`Silu`].
    SiluBackward: "silu_backward", 6, slope;
    shader: silu;
    far: [-100.0, -20.0, 0.0, 20.0, 88.0, 100.0];
    // Where the slope is near 1, and an error of `1 - s` counts x times.
    "right of zero": (0..976).map(|i| 2.0 + 0.01 * f64::from(i));
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn value(x: f64) -> f64 {
    x * sigmoid(x)
}

fn slope(x: f64) -> f64 {
    let s = sigmoid(x);
    s + x * s * (1.0 - s)
}
