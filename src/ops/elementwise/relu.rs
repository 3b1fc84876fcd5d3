//! Rectified linear unit, elementwise: Nair and Hinton 2010, section 2.1.
use crate::ops::activation;

activation! {
    /// `y = max(x, 0)`, and NaN where `x` is; `x` and `y` of any one type.
    ///
    /// ```
    /// use ddim::{ops::{Operator, Relu, ReluBackward}, reference::Tensor, value::Shape};
    ///
    /// let [x, dy] = [[-1.0, 2.0], [1.0, 1.0]].map(|of| Tensor::new(Shape::new(&[2]), of.into()));
    /// assert_eq!(Relu.reference(&[&x])[0].data, [0.0, 2.0]);
    /// assert_eq!(ReluBackward.reference(&[&x, &dy])[0].data, [0.0, 1.0]);
    /// ```
    Relu: "relu", 1, value;
    /// `dx = dy` where `x` is above 0, else 0; operands `x`, `dy`.
    ///
    /// Example: [`Relu`].
    ReluBackward: "relu_backward", 2, slope;
    shader: relu;
    far: [-3e38, -100.0, -1e-3, 1e-3, 100.0, 3e38];
    // The kink itself has no slope to compare with.
    "around zero": (0..976).map(|i| 0.01 * (f64::from(i) - 487.5));
}

fn value(x: f64) -> f64 {
    if x < 0.0 { 0.0 } else { x }
}

fn slope(x: f64) -> f64 {
    if x > 0.0 { 1.0 } else { 0.0 }
}
