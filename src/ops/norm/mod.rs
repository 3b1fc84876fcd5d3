//! Normalization: over groups of channels, and over a row.
use super::{Dice, Input};
use crate::value::TensorType;

pub(super) mod group_norm;
pub(super) mod layer_norm;

/// What random cases add to a variance.
const EPS: [f64; 3] = [1e-3, 1e-5, 1e-6];

/// Numbers about a mean, and how many more terms that mean costs: as many as the mean of a tile,
/// rounded, shifts the result.
fn about_a_mean(dice: &mut Dice, of: TensorType, eps: f64) -> (Input, usize) {
    let mean = dice.pick([0.0, 0.0, 1.0, 50.0, -12_345.0]);
    let deviation = dice.pick([1.0, 1.0, 0.1, 0.0]);
    let scale = f64::hypot(deviation, eps.sqrt()).recip();
    let more = if deviation == 0.0 { 0 } else { (mean * scale / 16.0).powi(2) as usize };
    (Input::shifted(of, mean, deviation), more)
}

/// Weight and bias of so many channels. The bias keeps a constant from giving zeros alone, whose
/// tolerance is nothing.
fn parameters(channels: usize) -> [Input; 2] {
    let of = TensorType::f32(&[channels]);
    [Input::shifted(of, 1.0, 0.3), Input::normal(of)]
}
