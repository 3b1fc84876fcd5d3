//! Norms and their parts.
use super::Dice;
use crate::{
    ops::{
        ApplyAffine, Case, GroupAffine, GroupMoments, GroupNorm, GroupNormBackward, Input,
        LayerNorm, LayerNormBackward, Operator,
    },
    value::TensorType,
};

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

pub fn group_norm(dice: &mut Dice) -> Case {
    let (x, eps) = (dice.spatial(), dice.pick(EPS));
    let groups = dice.divisor(x.shape.last());
    let (input, more) = about_a_mean(dice, x, eps);
    let [weight, bias] = parameters(x.shape.last());
    let terms = x.shape.elements() / x.shape[0] / groups + more;
    let op = GroupNorm { groups, eps: eps.into() };
    Case::new(op, vec![input, weight, bias]).half(&[0]).terms(terms)
}

pub fn group_moments(dice: &mut Dice) -> Case {
    let x = dice.spatial();
    let (input, _) = about_a_mean(dice, x, 1.0);
    Case::new(GroupMoments, vec![input]).terms(16).half(&[0])
}

/// Channels of one source, or of two whose seam lies between two vec4s.
fn sources(dice: &mut Dice) -> Vec<usize> {
    if dice.flip() {
        return vec![dice.extent(70)];
    }
    vec![4 * dice.extent(12), dice.extent(40)]
}

pub fn group_affine(dice: &mut Dice) -> Case {
    let (sources, mean) = (sources(dice), dice.pick([0.0, 1.0, 50.0]));
    let channels: usize = sources.iter().sum();
    let [batch, height, width] = dice.extents([3, 40, 40], 10_000 / channels);
    let of = |channels| TensorType::f32(&[batch, height, width, channels]);
    let moments = sources.iter().zip(1..).map(|(&channels, seed)| {
        let x = Input::shifted(of(channels), mean, 1.0).tensor(seed);
        let moments = GroupMoments.reference(&[&x]).swap_remove(0);
        let shape = TensorType::f32(&moments.shape);
        Input::values(shape, moments.data.iter().map(|&x| f64::from(x as f32)).collect())
    });
    let inputs = moments.chain(parameters(channels)).collect();
    let norm = GroupNorm { groups: dice.divisor(channels), eps: dice.pick(EPS).into() };
    let op: GroupAffine = norm.affine(of(channels));
    let terms = height * width * channels / norm.groups;
    Case::new(op, inputs).terms(terms)
}

pub fn apply_affine(dice: &mut Dice) -> Case {
    let sources = sources(dice);
    let channels: usize = sources.iter().sum();
    let [batch, tokens] = dice.extents([5, 300], 10_000 / channels);
    let images = sources.iter().map(|&channels| TensorType::f32(&[batch, tokens, channels]));
    let inputs =
        images.chain([TensorType::f32(&[batch, 3, channels])]).map(Input::normal).collect();
    let half: &[usize] = if sources.len() == 2 { &[0, 1] } else { &[0] };
    Case::new(ApplyAffine { silu: dice.flip() }, inputs).half(half).terms(3)
}

pub fn group_norm_backward(dice: &mut Dice) -> Case {
    let (x, silu) = (dice.spatial(), dice.flip());
    let groups = dice.divisor(x.shape.last());
    let [weight, bias] = parameters(x.shape.last());
    let statistics = TensorType::f32(&[x.shape[0], groups, 2]);
    let mut inputs = vec![Input::normal(x), Input::uniform(statistics, 0.5, 1.5), weight];
    inputs.extend(silu.then_some(bias));
    inputs.push(Input::normal(x));
    let half: &[usize] = if silu { &[0, 4] } else { &[0, 3] };
    let terms = (x.shape.elements() / x.shape[0] / groups).max(x.rows());
    Case::new(GroupNormBackward { groups, silu }, inputs).half(half).terms(terms)
}

pub fn layer_norm(dice: &mut Dice) -> Case {
    let (x, eps) = (dice.tensor(), dice.pick(EPS));
    let (input, _) = about_a_mean(dice, x, eps);
    let [weight, bias] = parameters(x.shape.last());
    let op = LayerNorm { eps: eps.into() };
    Case::new(op, vec![input, weight, bias]).half(&[0]).terms(x.shape.last())
}

pub fn layer_norm_backward(dice: &mut Dice) -> Case {
    let x = dice.tensor();
    let [weight, _] = parameters(x.shape.last());
    let statistics = Input::uniform(TensorType::f32(&[x.rows(), 2]), 0.5, 1.5);
    let inputs = vec![Input::normal(x), weight, statistics, Input::normal(x)];
    let terms = x.rows().max(x.shape.last());
    Case::new(LayerNormBackward, inputs).half(&[0, 3]).terms(terms)
}
