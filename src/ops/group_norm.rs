//! Group normalization: Wu and He 2018, eq. 1 to 4.
use super::{
    Backward, Case, Input, Lowering, Operator, ShapeError, elementwise_cost, operands,
    pixel_tile::Images,
};
use crate::{
    error::Error,
    graph::Equation,
    plan::{Cost, fold},
    reference::Tensor,
    shaders::group_norm as shader,
    value::{Float, TensorType, Value},
};
use std::fmt;

/// `y = (x - mean) rstd weight + bias`, with mean and `rstd = 1 / sqrt(variance + eps)` over the
/// pixels and channels of one group of one image; the variance divides by the count.
///
/// | operand | shape |
/// |---|---|
/// | `x` | `[batch, height, width, channels]` or `[batch, tokens, channels]` |
/// | `weight`, `bias` | `[channels]`, f32 |
/// | output `y` | as `x` |
/// | output `statistics` | `[batch, groups, 2]` = (mean, rstd), f32; carries no gradient |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupNorm {
    /// Number of groups; divides the channels.
    pub groups: usize,
    /// Added to the variance.
    pub eps: Float,
}

/// Gradients of [`GroupNorm`]: operands `x`, `statistics`, `weight`, `dy`; outputs `dx` as `x`,
/// `dweight` and `dbias` as `weight`. With `xhat = (x - mean) rstd` and means over a group,
/// `dx = rstd (weight dy - mean(weight dy) - xhat mean(weight dy xhat))`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupNormBackward {
    /// Number of groups.
    pub groups: usize,
}

impl fmt::Display for GroupNorm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group_norm{{groups={} eps={}}}", self.groups, self.eps)
    }
}

impl fmt::Display for GroupNormBackward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group_norm_backward{{groups={}}}", self.groups)
    }
}

/// The extents of `x` if its channels fall into `groups` and its parameters fit it.
fn check(
    op: &str,
    groups: usize,
    parameters: &[(&str, TensorType)],
    inputs: &[TensorType],
) -> Result<Images, ShapeError> {
    let images = Images::of(op, inputs[0], inputs)?;
    let channels = images.channels;
    if groups == 0 || channels % groups != 0 {
        let message = format!("x has {channels} channels, not a multiple of {groups} groups");
        return Err(ShapeError::new(op, message, inputs));
    }
    let expected = TensorType::f32(&[channels]);
    for (name, found) in parameters {
        if *found != expected {
            let message = format!("{name} must be {expected}, found {found}");
            return Err(ShapeError::new(op, message, inputs));
        }
    }
    Ok(images)
}

fn statistics_type(images: &Images, groups: usize) -> TensorType {
    TensorType::f32(&[images.batch, groups, 2])
}

fn shader_params(images: &Images, groups: usize, eps: f64) -> shader::Params {
    shader::Params {
        batch: images.batch as u32,
        pixels: images.pixels as u32,
        channels: images.channels as u32,
        channels4: images.channels4() as u32,
        groups: groups as u32,
        group_channels: (images.channels / groups) as u32,
        tiles: images.tiles() as u32,
        tile_pixels: images.tile_pixels() as u32,
        eps: eps as f32,
    }
}

/// A workgroup folds the partials of one group: few lanes where there are few.
fn fold_overrides(images: &Images, groups: usize) -> shader::Overrides {
    let partials = images.tiles() * images.channels / groups;
    shader::Overrides { workgroup: if partials > 64 { 64 } else { 8 } }
}

impl Operator for GroupNorm {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let op = "group_norm";
        let [x, weight, bias] = operands(op, inputs)?;
        let images = check(op, self.groups, &[("weight", weight), ("bias", bias)], inputs)?;
        Ok(vec![x, statistics_type(&images, self.groups)])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [x, weight, bias] = [inputs[0], inputs[1], inputs[2]];
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
        let shape = crate::value::Shape::new(&[batch, self.groups, 2]);
        vec![y, Tensor::new(shape, statistics)]
    }

    fn vjp(
        &self,
        backward: &mut Backward,
        equation: &Equation,
    ) -> Result<Vec<Option<Value>>, Error> {
        if backward.cotangent(1).is_some() {
            return Err(Error::NotDifferentiable { op: format!("statistics of {self}") });
        }
        let Some(dy) = backward.cotangent(0) else {
            return Ok(vec![None; 3]);
        };
        let [x, weight, statistics] = [equation.inputs[0], equation.inputs[1], equation.outputs[1]];
        let op = GroupNormBackward { groups: self.groups };
        let gradients = backward.push_all(op, &[x, statistics, weight, dy])?;
        Ok(gradients.into_iter().map(Some).collect())
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [x, weight, bias] = [equation.inputs[0], equation.inputs[1], equation.inputs[2]];
        let [y, statistics] = [equation.outputs[0], equation.outputs[1]];
        let images = Images::unchecked(lowering.type_of(x));
        let params = shader_params(&images, self.groups, self.eps.get());
        let map = shader::Overrides::default();
        let grid = images.grid(map.workgroup);
        let partials = lowering.scratch(images.partials());
        lowering.push(shader::Moments { x, partials_out: partials }.dispatch(params, map, grid))?;
        lowering.push(shader::Fold { partials, statistics_out: statistics }.dispatch(
            params,
            fold_overrides(&images, self.groups),
            fold(images.batch * self.groups),
        ))?;
        let apply = shader::Forward { x, weight, bias, statistics, y };
        Ok(lowering.push(apply.dispatch(params, map, grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        // Mean and squared deviations: 4; normalize, scale and shift: 3.
        elementwise_cost(7, inputs, &inputs[..1])
    }
}

impl Operator for GroupNormBackward {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let op = "group_norm_backward";
        let [x, statistics, weight, dy] = operands(op, inputs)?;
        let images = check(op, self.groups, &[("weight", weight)], inputs)?;
        let expected = statistics_type(&images, self.groups);
        if statistics != expected {
            let message = format!("statistics must be {expected}, found {statistics}");
            return Err(ShapeError::new(op, message, inputs));
        }
        if dy != x {
            return Err(ShapeError::new(op, format!("dy must be {x}, found {dy}"), inputs));
        }
        Ok(vec![x, weight, weight])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [x, statistics, weight, dy] = [inputs[0], inputs[1], inputs[2], inputs[3]];
        let (batch, channels) = (x.shape[0], x.shape.last());
        let (image, size) = (x.data.len() / batch, channels / self.groups);
        let mut dx = x.clone();
        let [mut dweight, mut dbias] = [Tensor::zeros(weight.shape), Tensor::zeros(weight.shape)];
        for n in 0..batch {
            for group in 0..self.groups {
                let members =
                    || (n * image..(n + 1) * image).filter(move |i| i % channels / size == group);
                let count = (image / self.groups) as f64;
                let row = 2 * (n * self.groups + group);
                let (mean, rstd) = (statistics.data[row], statistics.data[row + 1]);
                let xhat = |i: usize| (x.data[i] - mean) * rstd;
                let slope = |i: usize| weight.data[i % channels] * dy.data[i];
                let mean_slope = members().map(slope).sum::<f64>() / count;
                let mean_product = members().map(|i| slope(i) * xhat(i)).sum::<f64>() / count;
                for i in members() {
                    dx.data[i] = rstd * (slope(i) - mean_slope - xhat(i) * mean_product);
                    dweight.data[i % channels] += dy.data[i] * xhat(i);
                    dbias.data[i % channels] += dy.data[i];
                }
            }
        }
        vec![dx, dweight, dbias]
    }

    fn vjp(&self, _: &mut Backward, _: &Equation) -> Result<Vec<Option<Value>>, Error> {
        Err(Error::NotDifferentiable { op: self.to_string() })
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [x, statistics] = [equation.inputs[0], equation.inputs[1]];
        let [weight, dy] = [equation.inputs[2], equation.inputs[3]];
        let [dx, dweight, dbias] = [equation.outputs[0], equation.outputs[1], equation.outputs[2]];
        let images = Images::unchecked(lowering.type_of(x));
        let params = shader_params(&images, self.groups, 0.0);
        let map = shader::Overrides::default();
        let grid = images.grid(map.workgroup);
        let partials = lowering.scratch(images.partials());
        let means = lowering.scratch(statistics_type(&images, self.groups));
        let sums = shader::Sums { x, dy, statistics, partials_out: partials };
        lowering.push(sums.dispatch(params, map, grid))?;
        let fold_sums = shader::FoldSums { weight, partials, means_out: means, dweight, dbias };
        lowering.push(fold_sums.dispatch(
            params,
            fold_overrides(&images, self.groups),
            fold(images.batch * self.groups + images.channels4()),
        ))?;
        let apply = shader::Backward { x, weight, dy, statistics, means, dx };
        Ok(lowering.push(apply.dispatch(params, map, grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        // Sums: 5; the gradient: 7.
        elementwise_cost(12, inputs, &inputs[..1])
    }
}

pub(super) fn cases() -> Vec<Case> {
    let forward = |shape: &[usize], groups: usize, eps: f64, mean, deviation, note: &str| {
        let x = TensorType::f32(shape);
        let parameter = TensorType::f32(&[x.shape.last()]);
        let terms = x.shape.elements() / shape[0] / groups;
        let inputs = vec![
            Input::shifted(x, mean, deviation),
            Input::shifted(parameter, 1.0, 0.3),
            Input::normal(parameter),
        ];
        let op = GroupNorm { groups, eps: Float::from(eps) };
        Case::new(op, inputs).half(&[0]).terms(terms).name(note)
    };
    let backward = |shape: &[usize], groups: usize, note: &str| {
        let x = TensorType::f32(shape);
        let parameter = TensorType::f32(&[x.shape.last()]);
        // The parameters' gradients sum over all images.
        let terms = (x.shape.elements() / shape[0] / groups).max(x.rows());
        let inputs = vec![
            Input::normal(x),
            Input::uniform(TensorType::f32(&[shape[0], groups, 2]), 0.5, 1.5),
            Input::shifted(parameter, 1.0, 0.3),
            Input::normal(x),
        ];
        let op = GroupNormBackward { groups };
        Case::new(op, inputs).half(&[0, 3]).terms(terms).name(note)
    };
    vec![
        forward(&[2, 4, 4, 5], 1, 1e-6, 0.0, 1.0, "odd channels"),
        forward(&[2, 7, 5, 12], 3, 1e-6, 0.0, 1.0, "a group is one vec4"),
        forward(&[1, 16, 16, 6], 3, 1e-6, 0.0, 1.0, "groups inside a vec4"),
        forward(&[2, 8, 8, 32], 32, 1e-6, 0.0, 1.0, "a group per channel"),
        forward(&[1, 9, 7, 8], 2, 1e-6, 50.0, 1.0, "mean far from zero"),
        forward(&[1, 5, 5, 8], 4, 1e-5, 0.0, 1e-3, "variance near eps"),
        forward(&[2, 1, 1, 12], 4, 1e-6, 0.0, 1.0, "one pixel"),
        forward(&[1, 49, 1], 1, 1e-5, 0.0, 1.0, "one channel of tokens"),
        forward(&[4, 16, 16, 32], 8, 1e-6, 0.0, 1.0, ""),
        backward(&[2, 4, 4, 5], 1, "odd channels"),
        backward(&[1, 16, 16, 6], 3, "groups inside a vec4"),
        backward(&[2, 8, 8, 32], 32, "a group per channel"),
        backward(&[3, 65, 7], 7, "tokens"),
        backward(&[4, 16, 16, 32], 8, ""),
    ]
}
