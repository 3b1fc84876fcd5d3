//! Group normalization: Wu and He 2018, eq. 1 to 4. Alone it is [`GroupNorm`]; a fused graph has
//! its parts, [`GroupMoments`], [`GroupAffine`] and [`ApplyAffine`], of which others may take over
//! the first and the last.
use super::{EPS, about_a_mean, parameters};
use crate::ops::{kit::pixel_tile::Images, prelude::*};

mod affine;
mod apply;
mod backward;
mod moments;

pub use affine::GroupAffine;
pub use apply::ApplyAffine;
pub use backward::GroupNormBackward;
pub use moments::GroupMoments;
pub(crate) use moments::Tiles;

/// `y = (x - mean) rstd weight + bias`, with mean and `rstd = 1 / sqrt(variance + eps)` over the
/// pixels and channels of one group of one image; the variance divides by the count.
///
/// | operand | shape |
/// |---|---|
/// | `x` | `[batch, height, width, channels]` or `[batch, tokens, channels]` |
/// | `weight`, `bias` | `[channels]`, f32 |
/// | output `y` | as `x` |
/// | output `statistics` | `[batch, groups, 2]` = (mean, rstd), f32; carries no gradient |
///
/// ```
/// use ddim::{ops::{GroupNorm, Operator}, reference::Tensor, value::Shape};
///
/// let x = Tensor::new(Shape::new(&[1, 2, 1]), vec![1.0, 3.0]);
/// let [weight, bias] = [1.0, 0.0].map(|number| Tensor::new(Shape::new(&[1]), vec![number]));
/// let results = GroupNorm { groups: 1, eps: 0.0.into() }.reference(&[&x, &weight, &bias]);
/// assert_eq!(results[0].data, [-1.0, 1.0]);
/// // Mean and rstd.
/// assert_eq!(results[1].data, [2.0, 1.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupNorm {
    /// Number of groups; divides the channels.
    pub groups: usize,
    /// Added to the variance.
    pub eps: Float,
}

display!("group_norm", GroupNorm { groups, eps });

/// Whether channels fall into `groups`, and parameters have a number for each.
fn check_groups(
    check: Check,
    channels: usize,
    groups: usize,
    parameters: &[(&str, TensorType)],
) -> Result<(), ShapeError> {
    if groups == 0 || !channels.is_multiple_of(groups) {
        let message = format!("x has {channels} channels, not a multiple of {groups} groups");
        return Err(check.conflict(message));
    }
    let expected = TensorType::f32(&[channels]);
    parameters.iter().try_for_each(|(name, found)| check.is(name, *found, expected))
}

/// Invocations that share a fold of so many tiles.
fn fold_lanes(tiles: usize) -> u32 {
    tiles.next_power_of_two().clamp(32, 256) as u32
}

fn statistics_type(batch: usize, groups: usize) -> TensorType {
    TensorType::f32(&[batch, groups, 2])
}

impl Operator for GroupNorm {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [x, weight, bias] = check.operands()?;
        let images = Images::of(check, "x", x)?;
        let parameters = [("weight", weight), ("bias", bias)];
        check_groups(check, images.channels, self.groups, &parameters)?;
        Ok(vec![x, statistics_type(images.batch, self.groups)])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [x, weight, bias] = fitted(inputs);
        let (batch, channels) = (x.shape[0], x.shape.last());
        let (image, size) = (x.data.len() / batch, channels / self.groups);
        let mut y = x.clone();
        let mut statistics = Vec::new();
        for n in 0..batch {
            for group in 0..self.groups {
                let members =
                    || (n * image..(n + 1) * image).filter(move |i| i % channels / size == group);
                let count = (image / self.groups) as f64;
                let mean = members().map(|i| x.data[i]).sum::<f64>() / count;
                let variance = members().map(|i| (x.data[i] - mean).powi(2)).sum::<f64>() / count;
                let rstd = 1.0 / (variance + self.eps.get()).sqrt();
                for i in members() {
                    let channel = i % channels;
                    y.data[i] =
                        (x.data[i] - mean) * rstd * weight.data[channel] + bias.data[channel];
                }
                statistics.extend([mean, rstd]);
            }
        }
        vec![y, Tensor::new(statistics_type(batch, self.groups).shape, statistics)]
    }

    fn vjp(&self, backward: &mut Backward, equation: &Equation) -> Result<Gradients, Error> {
        if backward.cotangent(1).is_some() {
            return Err(Error::NotDifferentiable { op: format!("statistics of {self}") });
        }
        let Some(dy) = backward.cotangent(0) else {
            return Ok(vec![None; 3]);
        };
        let [x, weight, statistics] = [equation.inputs[0], equation.inputs[1], equation.outputs[1]];
        let op = GroupNormBackward { groups: self.groups, silu: false, residual: false };
        let gradients = backward.push_all(op, &[x, statistics, weight, dy])?;
        Ok(gradients.into_iter().map(Some).collect())
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [x, weight, bias] = fitted(&equation.inputs);
        let [y, statistics] = fitted(&equation.outputs);
        let of = lowering.type_of(x);
        let partial = lowering.scratch(moments::moments_type(of));
        let affine = lowering.scratch(affine::affine_type(of.shape[0], of.shape.last()));
        GroupMoments.compute(lowering, x, partial)?;
        self.affine(of).push(lowering, &[partial], [weight, bias], [affine, statistics])?;
        ApplyAffine { silu: false }.push(lowering, &[x], affine, y)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        // Mean and squared deviations: 4; normalize, scale and shift: 3.
        elementwise_cost(7, inputs, &inputs[..1])
    }

    /// Sums are of whole vec4s, and of differences.
    fn special(&self) -> Special {
        Special::Spreads
    }
}

/// The statistics of a group are sums over its pixels and channels.
fn forward(x: Input, groups: usize, eps: f64) -> Case {
    let terms = x.of.shape.elements() / x.of.shape[0] / groups;
    let [weight, bias] = parameters(x.of.shape.last());
    let op = GroupNorm { groups, eps: eps.into() };
    Case::new(op, vec![x, weight, bias]).half(&[0]).terms(terms)
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let case = |shape: &[usize], groups: usize, eps: f64, mean, deviation, note: &str| {
        forward(Input::shifted(TensorType::f32(shape), mean, deviation), groups, eps).name(note)
    };
    let own = vec![
        case(&[2, 4, 4, 5], 1, 1e-6, 0.0, 1.0, "odd channels"),
        case(&[2, 7, 5, 12], 3, 1e-6, 0.0, 1.0, "a group is one vec4"),
        case(&[1, 16, 16, 6], 3, 1e-6, 0.0, 1.0, "groups inside a vec4"),
        case(&[2, 8, 8, 32], 32, 1e-6, 0.0, 1.0, "a group per channel"),
        case(&[1, 9, 7, 8], 2, 1e-6, 50.0, 1.0, "mean far from zero"),
        case(&[1, 5, 5, 8], 4, 1e-5, 0.0, 1e-3, "variance near eps"),
        case(&[2, 1, 1, 12], 4, 1e-6, 0.0, 1.0, "one pixel"),
        case(&[1, 49, 1], 1, 1e-5, 0.0, 1.0, "one channel of tokens"),
        case(&[4, 16, 16, 32], 8, 1e-6, 0.0, 1.0, ""),
        case(&[1, 1024, 1536, 1], 1, 1e-6, 0.0, 1.0, "more tiles than a loop may have iterations"),
        case(&[2, 8, 8, 16], 4, 1e-6, 12_345.0, 0.0, "constant"),
        case(&[2, 7, 5, 6], 3, 1e-6, 12_345.0, 0.0, "constant"),
        case(&[2, 1, 1, 8], 8, 1e-6, 12_345.0, 1.0, "a group of one number"),
        case(&[1, 1, 8], 1, 1e-6, 12_345.0, 3e-3, "a pixel of nearly equal numbers"),
        // Means of tiles are rounded: y is off by 2^-24 mean scale, as a sum of so many terms may be.
        case(&[1, 12, 12, 4], 2, 1e-6, 12_345.0, 1.0, "mean far from zero").terms(144 + 385 * 385),
        case(&[65_537, 2, 8], 1, 1e-6, 0.0, 1.0, "more images than an axis of a grid"),
    ];
    [own, moments::cases(), affine::cases(), apply::cases(), backward::cases()].concat()
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    type Random = fn(&mut Dice) -> Case;
    let parts: [Random; 5] =
        [norm, moments::random, affine::random, apply::random, backward::random];
    dice.pick(parts)(dice)
}

/// The norm alone.
fn norm(dice: &mut Dice) -> Case {
    let (x, eps) = (dice.spatial(), dice.pick(EPS));
    let groups = dice.divisor(x.shape.last());
    let (input, more) = about_a_mean(dice, x, eps);
    let case = forward(input, groups, eps);
    let terms = case.terms + more;
    case.terms(terms)
}
