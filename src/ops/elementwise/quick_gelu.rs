//! Sigmoid approximation of the Gaussian error linear unit, elementwise: Hendrycks and Gimpel 2016,
//! section 2.
use crate::ops::activation;

activation! {
    /// `y = x / (1 + exp(-1.702 x))`; `x` and `y` of any one type. In f32 `|error / y|` is at most
    /// `(4 + 2 |x|) 2^-23`: the exponential of a number that is rounded twice is off by that much.
    ///
    /// ```
    /// use ddim::{ops::{Operator, QuickGelu, QuickGeluBackward}, reference::Tensor, value::Shape};
    ///
    /// let [x, dy] = [[0.0], [1.0]].map(|of| Tensor::new(Shape::new(&[1]), of.into()));
    /// assert_eq!(QuickGelu.reference(&[&x])[0].data, [0.0]);
    /// assert_eq!(QuickGeluBackward.reference(&[&x, &dy])[0].data, [0.5]);
    /// ```
    QuickGelu: "quick_gelu", 6, value;
    /// `dx = dy (s + 1.702 x s (1 - s))` with `s = 1 / (1 + exp(-1.702 x))`; operands `x`, `dy`.
    ///
    /// Example: [`QuickGelu`].
    QuickGeluBackward: "quick_gelu_backward", 7, slope;
    shader: quick_gelu;
    far: [-100.0, -20.0, 0.0, 20.0, 50.0, 100.0];
    // Where the slope is near 1, and an error of `1 - s` counts x times.
    "right of zero": (0..976).map(|i| 1.0 + 0.01 * f64::from(i));
}

const SLOPE: f64 = 1.702;

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-SLOPE * x).exp())
}

fn value(x: f64) -> f64 {
    x * sigmoid(x)
}

fn slope(x: f64) -> f64 {
    let s = sigmoid(x);
    s + SLOPE * x * s * (1.0 - s)
}
