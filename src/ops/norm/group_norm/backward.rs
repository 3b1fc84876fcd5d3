//! Gradients of group normalization, and of SiLU after it.
use super::{check_groups, fold_lanes, parameters, statistics_type};
use crate::{
    ops::{Add, SiluBackward, kit::pixel_tile::Images, prelude::*},
    shaders::group_norm_backward as shader,
};
use std::ops::Range;

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
///
/// ```
/// use ddim::{graph::Graph, ops::GroupNorm, passes, value::TensorType};
///
/// let mut graph = Graph::new();
/// let [x, dy] = [(); 2].map(|()| graph.input(TensorType::f32(&[1, 8, 8, 32])));
/// let [weight, bias] = [(); 2].map(|()| graph.input(TensorType::f32(&[32])));
/// let y = graph.push(GroupNorm { groups: 8, eps: 1e-5.into() }, &[x, weight, bias])?;
/// passes::gradient(&mut graph, y, dy, &[x, weight, bias])?;
/// assert!(graph.to_string().contains("group_norm_backward{groups=8"));
/// # Ok::<(), ddim::Error>(())
/// ```
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

/// All rows of a picture, or bands of rows of one that is more than a device binds.
fn bands(of: TensorType, limit: u64) -> Vec<Range<usize>> {
    let (height, row) = (of.shape[1], of.with_extent(1, 1).bytes());
    // Bindings begin at multiples of 256 bytes at most.
    let step = if (16 * row).is_multiple_of(256) { 16 } else { 32 };
    let most = usize::try_from(limit / row).unwrap_or(usize::MAX) / step * step;
    let is_cut = of.bytes() > limit && of.shape.len() == 4 && of.shape[0] == 1 && most > 0;
    let most = if is_cut { most } else { height };
    (0..height).step_by(most).map(|first| first..height.min(first + most)).collect()
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
        let of = lowering.type_of(x);
        let (images, bands) = (Images::unchecked(of), bands(of, lowering.target().max_binding));
        let params = |pixels: usize, tile_pixels: usize| shader::Params {
            batch: images.batch as u32,
            pixels: pixels as u32,
            channels: images.channels as u32,
            channels4: images.channels4() as u32,
            groups: self.groups as u32,
            group_channels: (images.channels / self.groups) as u32,
            tiles: pixels.div_ceil(tile_pixels) as u32,
            tile_pixels: tile_pixels as u32,
            channel_groups: 1.0 / (images.channels / self.groups) as f32,
        };
        let map = shader::Overrides { silu: self.silu, ..Default::default() };
        // A tile of a band is a row.
        let is_whole = bands.len() == 1;
        let tile_pixels = if is_whole { images.tile_pixels() } else { images.pixels / of.shape[1] };
        let cut = params(images.pixels, tile_pixels);
        let partials = [images.batch, cut.tiles as usize, 2, images.channels];
        let partials = lowering.scratch(TensorType::f32(&partials));
        let coefficients = lowering.scratch(TensorType::f32(&[images.batch, 5, images.channels]));
        let part = |lowering: &mut Lowering, whole: Value, rows: &Range<usize>| match is_whole {
            true => whole,
            false => lowering.rows(whole, rows.clone()),
        };
        for rows in &bands {
            let [x, dy, partials_out] = [x, dy, partials].map(|of| part(lowering, of, rows));
            let own = params(images.pixels / of.shape[1] * rows.len(), tile_pixels);
            let sums = shader::Sums { x, statistics, weight, bias, dy, partials_out };
            let grid = images.grid_of(own.tiles as usize, map.workgroup);
            lowering.push(sums.dispatch(own, map, grid))?;
        }
        // On a software driver the barriers of several subgroups cost more than the fold.
        let software = lowering.target().profile.is_software();
        let workgroup = if software { 8 } else { fold_lanes(cut.tiles as usize) };
        let (rows, coefficients_out) =
            (images.batch * self.groups + images.channels4(), coefficients);
        let kernel =
            shader::Fold { statistics, weight, bias, partials, coefficients_out, dweight, dbias };
        lowering.push_first([workgroup, 256].map(|workgroup| {
            let overrides = shader::Overrides { workgroup, ..Default::default() };
            kernel.dispatch(cut, overrides, fold(rows))
        }))?;
        for rows in &bands {
            let [x, dy, dx] = [x, dy, dx].map(|of| part(lowering, of, rows));
            let residual = residual.map(|of| part(lowering, of, rows));
            let pixels = images.pixels / of.shape[1] * rows.len();
            let strip = params(pixels, images.strip(lowering.target()));
            let grid = images.grid_of(strip.tiles as usize, map.workgroup);
            let apply = shader::Apply { x, dy, coefficients, dx, residual };
            lowering.push(apply.dispatch(strip, map, grid))?;
        }
        Ok(())
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
