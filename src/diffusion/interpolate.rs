//! Between two samples of noise.

/// Spherical interpolation, equation 67 of Song et al. (2021), after Shoemake (1985): the point at
/// `share`, 0 to 1, of the arc from `from` to `to`. Parallel vectors are interpolated in a straight
/// line.
///
/// ```
/// use ddim::diffusion::{angle_between, slerp};
///
/// let (from, to) = ([1.0, 0.0], [0.0, 1.0]);
/// let third = slerp(&from, &to, 1.0 / 3.0);
/// let degrees = angle_between(&from, &third).to_degrees();
/// assert!((degrees - 30.0).abs() < 1e-3);
/// ```
pub fn slerp(from: &[f32], to: &[f32], share: f64) -> Vec<f32> {
    let angle = angle_between(from, to);
    let sine = angle.sin();
    let (a, b) = match sine.abs() < 1e-9 {
        true => (1.0 - share, share),
        false => (((1.0 - share) * angle).sin() / sine, (share * angle).sin() / sine),
    };
    from.iter().zip(to).map(|(&x, &y)| (a * f64::from(x) + b * f64::from(y)) as f32).collect()
}

/// The angle between two vectors, in radians; 0 if one has no length.
///
/// Example: [`slerp()`].
pub fn angle_between(from: &[f32], to: &[f32]) -> f64 {
    let product = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    };
    let lengths = (product(from, from) * product(to, to)).sqrt();
    if lengths == 0.0 { 0.0 } else { (product(from, to) / lengths).clamp(-1.0, 1.0).acos() }
}
