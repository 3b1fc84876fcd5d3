//! Gradients of group normalization, and of SiLU after it.
use super::{check_groups, fold_lanes, parameters, statistics_type};
use crate::{
    ops::{Add, SiluBackward, kit::pixel_tile::Images, prelude::*},
    shaders::group_norm_backward as shader,
};

/// Gradients of [`GroupNorm`](super::GroupNorm), or of [`Silu`](crate::ops::Silu) after it. With
/// `xhat = (x - mean) rstd` and means over a group,
/// `dx = rstd (weight dy - mean(weight dy) - xhat mean(weight dy xhat))`.
///
/// | operand | shape |
/// |---|---|
/// | `x` | `[batch, height, width, channels]` or `[batch, tokens, channels]` |
/// | `statistics` | `[batch, groups, 2]` = (mean, rstd), f32 |
/// | `weight` | `[channels]`, f32 |
/// | `bias`, if `silu` | `[channels]`, f32 |
/// | `dy` | as `x` |
/// | `residual`, if there is one | as `x`; added to `dx` |
/// | outputs `dx`, `dweight`, `dbias` | as `x`, `weight`, `weight` |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupNormBackward {
    /// Number of groups.
    pub groups: usize,
    /// Whether `dy` is the gradient of SiLU of the normalized tensor, whose slope is recomputed.
    pub silu: bool,
    /// Whether a residual is added: another gradient of `x`.
    pub residual: bool,
}

display!("group_norm_backward", GroupNormBackward { groups, silu, residual });

impl GroupNormBackward {
    /// `x`, `statistics`, `weight`, `dy`; `bias` and `residual`, if there should be any.
    fn split<T: Copy>(&self, inputs: &[T]) -> Option<([T; 4], [Option<T>; 2])> {
        let (given, residual) = Add::residual(inputs, self.residual);
        let residual = residual.copied();
        match *given {
            [x, statistics, weight, bias, dy] if self.silu => {
                Some(([x, statistics, weight, dy], [Some(bias), residual]))
            }
            [x, statistics, weight, dy] if !self.silu => {
                Some(([x, statistics, weight, dy], [None, residual]))
            }
            _ => None,
        }
    }
}

impl Operator for GroupNormBackward {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let Some(([x, statistics, weight, dy], [bias, residual])) = self.split(inputs) else {
            return Err(check.count(4 + usize::from(self.silu) + usize::from(self.residual)));
        };
        let images = Images::of(check, "x", x)?;
        let parameters = [("weight", weight), ("bias", bias.unwrap_or(weight))];
        check_groups(check, images.channels, self.groups, &parameters)?;
        check.is("statistics", statistics, statistics_type(images.batch, self.groups))?;
        check.is("dy", dy, x)?;
        residual.map_or(Ok(()), |residual| check.is("residual", residual, x))?;
        Ok(vec![x, weight, weight])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let ([x, statistics, weight, dy], [bias, residual]) =
            self.split(inputs).expect("operands fit, as infer found");
        let (batch, channels) = (x.shape[0], x.shape.last());
        let (image, size) = (x.data.len() / batch, channels / self.groups);
        let xhat = |i: usize| {
            let row = 2 * (i / image * self.groups + i % channels / size);
            (x.data[i] - statistics.data[row]) * statistics.data[row + 1]
        };
        let mut gradient = dy.clone();
        if let Some(bias) = bias {
            let mut y = x.clone();
            for (i, y) in y.data.iter_mut().enumerate() {
                *y = xhat(i) * weight.data[i % channels] + bias.data[i % channels];
            }
            gradient = SiluBackward.reference(&[&y, dy]).remove(0);
        }
        let mut dx = x.clone();
        let [mut dweight, mut dbias] = [Tensor::zeros(weight.shape), Tensor::zeros(weight.shape)];
        for n in 0..batch {
            for group in 0..self.groups {
                let members =
                    || (n * image..(n + 1) * image).filter(move |i| i % channels / size == group);
                let count = (image / self.groups) as f64;
                let rstd = statistics.data[2 * (n * self.groups + group) + 1];
                let slope = |i: usize| weight.data[i % channels] * gradient.data[i];
                let mean_slope = members().map(slope).sum::<f64>() / count;
                let mean_product = members().map(|i| slope(i) * xhat(i)).sum::<f64>() / count;
                for i in members() {
                    dx.data[i] = rstd * (slope(i) - mean_slope - xhat(i) * mean_product);
                    dweight.data[i % channels] += gradient.data[i] * xhat(i);
                    dbias.data[i % channels] += gradient.data[i];
                }
            }
        }
        if let Some(residual) = residual {
            dx = Add.reference(&[&dx, residual]).swap_remove(0);
        }
        vec![dx, dweight, dbias]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let ([x, statistics, weight, dy], [bias, residual]) =
            self.split(&equation.inputs).expect("operands fit, as infer found");
        // Without SiLU no result depends on the bias.
        let bias = bias.unwrap_or(weight);
        let [dx, dweight, dbias] = fitted(&equation.outputs);
        let images = Images::unchecked(lowering.type_of(x));
        let group_channels = images.channels / self.groups;
        let params = |tile_pixels: usize| shader::Params {
            batch: images.batch as u32,
            pixels: images.pixels as u32,
            channels: images.channels as u32,
            channels4: images.channels4() as u32,
            groups: self.groups as u32,
            group_channels: group_channels as u32,
            tiles: images.pixels.div_ceil(tile_pixels) as u32,
            tile_pixels: tile_pixels as u32,
            channel_groups: 1.0 / group_channels as f32,
        };
        let map = shader::Overrides { silu: self.silu, ..Default::default() };
        let partials = lowering.scratch(images.partials());
        let coefficients = lowering.scratch(TensorType::f32(&[images.batch, 5, images.channels]));

        let cut = params(images.tile_pixels());
        let sums = shader::Sums { x, statistics, weight, bias, dy, partials_out: partials };
        lowering.push(sums.dispatch(cut, map, images.grid(map.workgroup)))?;

        // On a software driver the barriers of several subgroups cost more than the fold.
        let workgroup =
            if lowering.target().profile.is_software() { 8 } else { fold_lanes(images.tiles()) };
        let rows = images.batch * self.groups + images.channels4();
        let coefficients_out = coefficients;
        let kernel =
            shader::Fold { statistics, weight, bias, partials, coefficients_out, dweight, dbias };
        lowering.push_first([workgroup, 256].map(|workgroup| {
            let overrides = shader::Overrides { workgroup, ..Default::default() };
            kernel.dispatch(cut, overrides, fold(rows))
        }))?;

        let strip = params(images.strip(lowering.target()));
        let grid = images.grid_of(strip.tiles as usize, map.workgroup);
        let apply = shader::Apply { x, dy, coefficients, dx, residual };
        Ok(lowering.push(apply.dispatch(strip, map, grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        // Sums: 5; the gradient: 7; SiLU's slope, twice: 8.
        elementwise_cost(if self.silu { 28 } else { 12 }, inputs, &inputs[..1])
    }

    /// Sums are of whole vec4s, and of differences.
    fn special(&self) -> Special {
        Special::Spreads
    }
}

fn case([silu, residual]: [bool; 2], x: TensorType, groups: usize) -> Case {
    let [weight, bias] = parameters(x.shape.last());
    let statistics = Input::uniform(statistics_type(x.shape[0], groups), 0.5, 1.5);
    let mut inputs = vec![Input::normal(x), statistics, weight];
    inputs.extend(silu.then_some(bias));
    inputs.push(Input::normal(x));
    inputs.extend(residual.then(|| Input::normal(x)));
    let half: &[usize] = match [silu, residual] {
        [true, true] => &[0, 4, 5],
        [true, false] => &[0, 4],
        [false, true] => &[0, 3, 4],
        [false, false] => &[0, 3],
    };
    // The parameters' gradients sum over all images.
    let terms = (x.shape.elements() / x.shape[0] / groups).max(x.rows());
    Case::new(GroupNormBackward { groups, silu, residual }, inputs).half(half).terms(terms)
}

pub(super) fn cases() -> Vec<Case> {
    let both = |shape: &[usize], groups, note: &str| {
        [false, true].map(|silu| case([silu, false], TensorType::f32(shape), groups).name(note))
    };
    [
        both(&[2, 4, 4, 5], 1, "odd channels"),
        both(&[1, 16, 16, 6], 3, "groups inside a vec4"),
        both(&[2, 8, 8, 32], 32, "a group per channel"),
        both(&[3, 65, 7], 7, "tokens"),
        both(&[4, 16, 16, 32], 8, ""),
        both(&[1, 1024, 1536, 1], 1, "a large image"),
        both(&[65_537, 2, 8], 1, "more images than an axis of a grid"),
        [false, true]
            .map(|silu| case([silu, true], TensorType::f32(&[2, 5, 7, 10]), 2).name("residual")),
    ]
    .concat()
}

pub(super) fn random(dice: &mut Dice) -> Case {
    let (x, parts) = (dice.spatial(), [dice.flip(), dice.flip()]);
    let groups = dice.divisor(x.shape.last());
    case(parts, x, groups)
}
