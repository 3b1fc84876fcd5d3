//! Hyperbolic tangent, elementwise: LeCun et al. 1998, "Efficient BackProp", section 4.4.
use crate::ops::activation;

activation! {
    /// `y = tanh(x)`; `x` and `y` of any one type.
    Tanh: "tanh", 6, f64::tanh;
    /// `dx = dy (1 - tanh(x)^2)`; operands `x`, `dy`.
    TanhBackward: "tanh_backward", 8, slope;
    shader: tanh;
    far: [-3e38, -100.0, -20.0, 0.0, 20.0, 88.0, 100.0];
    // Where 1 - y^2 loses digits unless it is computed from the exponential.
    "saturated": (0..976).map(|i| 1.0 + 0.02 * f64::from(i));
}

fn slope(x: f64) -> f64 {
    x.cosh().powi(-2)
}
