//! Group normalization folded to a center, a scale and a shift of every channel.
use super::{
    EPS, GroupMoments, GroupNorm, Tiles, check_groups, fold_lanes, parameters, statistics_type,
};
use crate::{
    ops::prelude::*,
    plan::{Candidate, Family, OpClass, Problem},
    shaders::group_norm as shader,
};

/// [`GroupNorm`] as a center, a scale and a shift of every channel of every image: `center = mean`,
/// `scale = rstd weight`, `shift = bias`. On the device the center is the nearest f32 to the mean,
/// and the shift makes up for the rest. Means of tiles are f32: where the deviation of a group is
/// small beside its mean, what is applied is off by `2^-24 mean scale` at most; where all numbers
/// of a group are equal, by nothing.
///
/// | operand | shape |
/// |---|---|
/// | `moments` | `[batch, tiles, 2, channels]`, as [`GroupMoments`] gives; two for a concatenation, the channels of the first, a multiple of 4, before those of the second |
/// | `weight`, `bias` | `[channels]`, f32 |
/// | output `affine` | `[batch, 3, channels]` = (center, scale, shift), f32 |
/// | output `statistics` | `[batch, groups, 2]` = (mean, rstd), f32 |
///
/// Tiles are merged as in Chan, Golub and LeVeque 1979, eq. 2.1.
///
/// ```
/// use ddim::ops::{ApplyAffine, GroupAffine, GroupMoments, Operator};
/// use ddim::{reference::Tensor, value::Shape};
///
/// let x = Tensor::new(Shape::new(&[1, 2, 1]), vec![1.0, 3.0]);
/// let [weight, bias] = [1.0, 0.0].map(|number| Tensor::new(Shape::new(&[1]), vec![number]));
/// let moments = &GroupMoments.reference(&[&x])[0];
/// let op = GroupAffine { groups: 1, eps: 0.0.into(), pixels: 2, tile_pixels: 16 };
/// let affine = &op.reference(&[moments, &weight, &bias])[0];
/// assert_eq!(affine.data, [2.0, 1.0, 0.0]);
/// assert_eq!(ApplyAffine { silu: false }.reference(&[&x, affine])[0].data, [-1.0, 1.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupAffine {
    /// Number of groups; divides the channels.
    pub groups: usize,
    /// Added to the variance.
    pub eps: Float,
    /// Pixels of an image.
    pub pixels: usize,
    /// Pixels of a tile; the last one may have fewer.
    pub tile_pixels: usize,
}

impl GroupNorm {
    /// The fold of the moments of `x`.
    pub(crate) fn affine(&self, x: TensorType) -> GroupAffine {
        let Self { groups, eps } = *self;
        let pixels = x.rows() / x.shape[0];
        GroupAffine { groups, eps, pixels, tile_pixels: Tiles::PIXELS }
    }
}

display!(
    GroupAffine { groups, eps, pixels, tile_pixels }:
    "group_affine{{groups={groups} eps={eps} pixels={pixels} tile={tile_pixels}}}"
);

/// Moments, one or two; weight and bias.
fn split<T: Copy>(inputs: &[T]) -> Option<(&[T], [T; 2])> {
    match inputs {
        [moments @ .., weight, bias] if (1..=2).contains(&moments.len()) => {
            Some((moments, [*weight, *bias]))
        }
        _ => None,
    }
}

/// Type of the centers, scales and shifts of so many channels.
pub(super) fn affine_type(batch: usize, channels: usize) -> TensorType {
    TensorType::f32(&[batch, 3, channels])
}

impl GroupAffine {
    /// Folds the moments of one or two sources.
    pub(super) fn push(
        &self,
        lowering: &mut Lowering,
        moments: &[Value],
        [weight, bias]: [Value; 2],
        [affine, statistics]: [Value; 2],
    ) -> Result<(), Error> {
        let of = lowering.type_of(affine);
        let (batch, channels) = (of.shape[0], of.shape.last());
        let tiles = self.pixels.div_ceil(self.tile_pixels);
        let params = shader::Params {
            batch: batch as u32,
            pixels: self.pixels as u32,
            channels: channels as u32,
            channels4: channels.div_ceil(4) as u32,
            groups: self.groups as u32,
            group_channels: (channels / self.groups) as u32,
            split4: lowering.type_of(moments[0]).pitch() as u32 / 4,
            tiles: tiles as u32,
            tile_pixels: self.tile_pixels as u32,
            eps: self.eps.get() as f32,
            ..shader::Params::default()
        };
        let (first, second) = (moments[0], moments.get(1).copied());
        let kernel = shader::Fold { first, second, weight, bias, affine_out: affine, statistics };
        let with = |lanes: u32, rows: u32| {
            let overrides = shader::Overrides { lanes, rows, ..Default::default() };
            let [y, z, _] = fold(batch);
            let grid = [(self.groups as u32).div_ceil(rows), y, z];
            vec![kernel.dispatch(params, overrides, grid)]
        };
        // A GPU wants many invocations; on a software driver their tree costs more than the fold.
        let mut candidates = vec![Candidate::new(Family::Tree, with(fold_lanes(tiles), 1))];
        candidates.push(Candidate::new(Family::Serial, with(1, 8)));
        let rows = batch * self.pixels;
        let problem = Problem::new(OpClass::NormFold, rows, channels, channels);
        Ok(lowering.choose(&self.to_string(), problem, candidates)?)
    }
}

impl Operator for GroupAffine {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let Some((moments, [weight, bias])) = split(inputs) else {
            return Err(check.count("3 or 4"));
        };
        for (name, found) in [("pixels", self.pixels), ("tile_pixels", self.tile_pixels)] {
            let most = TensorType::MAX_ELEMENTS;
            check.that((1..=most).contains(&found), name, format!("1 to {most}"), found)?;
        }
        let (batch, tiles) = (moments[0].shape[0], self.pixels.div_ceil(self.tile_pixels));
        for &found in moments {
            let expected = TensorType::f32(&[batch, tiles, 2, found.shape.last()]);
            check.is("moments", found, expected)?;
        }
        if moments.len() == 2 && !moments[0].shape.last().is_multiple_of(4) {
            let message = "the first moments must have a multiple of 4 channels, found";
            return Err(check.conflict(format!("{message} {}", moments[0])));
        }
        let channels = moments.iter().map(|of| of.shape.last()).sum();
        let parameters = [("weight", weight), ("bias", bias)];
        check_groups(check, channels, self.groups, &parameters)?;
        Ok(vec![affine_type(batch, channels), statistics_type(batch, self.groups)])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let (moments, [weight, bias]) = split(inputs).expect("operands fit, as infer found");
        let (batch, tiles) = (moments[0].shape[0], moments[0].shape[1]);
        let channels = weight.data.len();
        let size = channels / self.groups;
        // Row 0 or 1 of a channel of the concatenation, in one tile.
        let moment = |n: usize, tile: usize, row: usize, mut channel: usize| {
            let mut source = moments[0];
            if channel >= source.shape.last() {
                channel -= source.shape.last();
                source = moments[1];
            }
            source.data[(2 * (n * tiles + tile) + row) * source.shape.last() + channel]
        };
        let count = |tile| self.tile_pixels.min(self.pixels - tile * self.tile_pixels) as f64;
        let mut affine = Tensor::zeros(affine_type(batch, channels).shape);
        let mut statistics = Tensor::zeros(statistics_type(batch, self.groups).shape);
        for n in 0..batch {
            for group in 0..self.groups {
                let members = || {
                    let of = group * size..(group + 1) * size;
                    (0..tiles).flat_map(move |tile| of.clone().map(move |channel| (tile, channel)))
                };
                let total = (self.pixels * size) as f64;
                let sum: f64 = members().map(|(t, c)| count(t) * moment(n, t, 0, c)).sum();
                let mean = sum / total;
                let deviations: f64 = members()
                    .map(|(t, c)| {
                        moment(n, t, 1, c) + count(t) * (moment(n, t, 0, c) - mean).powi(2)
                    })
                    .sum();
                let rstd = 1.0 / (deviations / total + self.eps.get()).sqrt();
                let row = n * self.groups + group;
                statistics.data[2 * row..2 * row + 2].copy_from_slice(&[mean, rstd]);
                for channel in group * size..(group + 1) * size {
                    let numbers = [mean, rstd * weight.data[channel], bias.data[channel]];
                    for (row, number) in (3 * n..).zip(numbers) {
                        affine.data[row * channels + channel] = number;
                    }
                }
            }
        }
        vec![affine, statistics]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let (moments, parameters) = split(&equation.inputs).expect("operands fit, as infer found");
        self.push(lowering, moments, parameters, fitted(&equation.outputs))
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        // Two sums over the moments.
        let outputs = self.infer(inputs).unwrap_or_default();
        let moments = inputs[..inputs.len() - 2].iter();
        let flops = moments.map(|of| 4 * of.shape.elements() as u64).sum();
        Cost { flops, ..elementwise_cost(0, inputs, &outputs) }
    }

    /// Sums are of whole vec4s, and of differences.
    fn special(&self) -> Special {
        Special::Spreads
    }
}

/// Of images of these channels, with their real moments.
fn case(shape: &[usize], sources: &[usize], mean: f64, norm: GroupNorm) -> Case {
    let channels = sources.iter().sum();
    let of = |channels| TensorType::f32(&[shape, &[channels]].concat());
    let moments = sources.iter().zip(1..).map(|(&channels, seed)| {
        let x = Input::shifted(of(channels), mean, 1.0).tensor(seed);
        let moments = GroupMoments.reference(&[&x]).swap_remove(0);
        Input::values(TensorType::f32(&moments.shape), moments.data)
    });
    let inputs = moments.chain(parameters(channels)).collect();
    let op = norm.affine(of(channels));
    Case::new(op, inputs).terms(op.pixels * channels / op.groups)
}

pub(super) fn cases() -> Vec<Case> {
    let case = |shape: &[usize], sources: &[usize], groups: usize, mean: f64, note: &str| {
        case(shape, sources, mean, GroupNorm { groups, eps: Float::from(1e-6) }).name(note)
    };
    vec![
        case(&[2, 8, 8], &[5], 1, 0.0, "odd channels"),
        case(&[2, 7, 5], &[12], 3, 0.0, "the last tile is shorter"),
        case(&[1, 16, 16], &[6], 3, 0.0, "groups inside a vec4"),
        case(&[2, 8, 8], &[32], 32, 50.0, "a group per channel, mean far from zero"),
        case(&[3, 65], &[7], 7, 50.0, "tokens, mean far from zero"),
        case(&[2, 8, 8], &[32, 16], 8, 50.0, "two sources, the seam between groups"),
        case(&[2, 8, 8], &[16, 8], 2, 50.0, "two sources, the seam inside a group"),
        case(&[1, 5, 5], &[8, 7], 5, 50.0, "two sources, the second of odd channels"),
        case(&[2, 9], &[12, 4], 16, 0.0, "two sources, a group per channel"),
        case(&[1, 40, 40], &[8], 1, 50.0, "many tiles"),
    ]
}

/// Channels of one source, or of two whose seam lies between two vec4s.
pub(super) fn sources(dice: &mut Dice) -> Vec<usize> {
    if dice.flip() { vec![dice.extent(70)] } else { vec![4 * dice.extent(12), dice.extent(40)] }
}

pub(super) fn random(dice: &mut Dice) -> Case {
    let (sources, mean) = (sources(dice), dice.pick([0.0, 1.0, 50.0]));
    let channels = sources.iter().sum();
    let shape = dice.extents([3, 40, 40], 10_000 / channels);
    let norm = GroupNorm { groups: dice.divisor(channels), eps: dice.pick(EPS).into() };
    case(&shape, &sources, mean, norm)
}
