//! Layer normalization over the channels of each row: Ba, Kiros and Hinton 2016, eq. 3.
use super::{EPS, about_a_mean, parameters};
use crate::{
    ops::{kit::fold_slots, matmul::sum_rows::slot_rows, prelude::*},
    shaders::layer_norm as shader,
};

/// `y = (x - mean) rstd weight + bias` with `rstd = 1 / sqrt(variance + eps)`; mean and biased
/// variance are those of a row.
///
/// | operand | shape |
/// |---|---|
/// | `x` | `[.., channels]` |
/// | `weight`, `bias` | `[channels]`, f32 |
/// | outputs `y`, `statistics` | as `x`; `[rows, 2]` = (mean, rstd), f32 |
///
/// ```
/// use ddim::{ops::{LayerNorm, LayerNormBackward, Operator}, reference::Tensor, value::Shape};
///
/// let x = Tensor::new(Shape::new(&[1, 2]), vec![1.0, 3.0]);
/// let [one, zero] = [1.0, 0.0].map(|number| Tensor::new(Shape::new(&[2]), vec![number; 2]));
/// let results = LayerNorm { eps: 0.0.into() }.reference(&[&x, &one, &zero]);
/// assert_eq!(results[0].data, [-1.0, 1.0]);
/// // A gradient that is the same for all channels leaves `x` as it is.
/// let dy = x.map(|_| 1.0);
/// let gradients = LayerNormBackward.reference(&[&x, &one, &results[1], &dy]);
/// assert_eq!(gradients[0].data, [0.0; 2]);
/// assert_eq!(gradients[2].data, [1.0; 2]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LayerNorm {
    /// Added to the variance.
    pub eps: Float,
}

/// Gradients of [`LayerNorm`]. With `xhat = (x - mean) rstd` and means over a row,
/// `dx = rstd (weight dy - mean(weight dy) - xhat mean(weight dy xhat))`.
///
/// | operand | shape |
/// |---|---|
/// | `x`, `dy` | `[.., channels]` |
/// | `weight` | `[channels]`, f32 |
/// | `statistics` | `[rows, 2]` = (mean, rstd), f32 |
/// | outputs `dx`, `dweight`, `dbias` | as `x`, `weight`, `weight` |
///
/// The operands stand in the order `x`, `weight`, `statistics`, `dy`.
///
/// Example: [`LayerNorm`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LayerNormBackward;

display!("layer_norm", LayerNorm { eps });

display!("layer_norm_backward", LayerNormBackward);

fn statistics_type(x: TensorType) -> TensorType {
    TensorType::f32(&[x.rows(), 2])
}

/// Invocations that share a row: the usual ones, and those for the longest rows. A software driver leaves its
/// loop over subgroups at every barrier; a workgroup of one subgroup has no such loop.
fn workgroups(lowering: &Lowering) -> [u32; 2] {
    if lowering.target().profile.is_software() { [8, 256] } else { [64, 256] }
}

fn params(of: TensorType, slot_rows: usize, eps: f64) -> shader::Params {
    shader::Params {
        rows: of.rows() as u32,
        channels: of.shape.last() as u32,
        channels4: of.pitch() as u32 / 4,
        slot_rows: slot_rows as u32,
        eps: eps as f32,
    }
}

impl Operator for LayerNorm {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [x, weight, bias] = check.operands()?;
        check.floats("x", x)?;
        let parameter = TensorType::f32(&[x.shape.last()]);
        check.is("weight", weight, parameter)?;
        check.is("bias", bias, parameter)?;
        Ok(vec![x, statistics_type(x)])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [x, weight, bias] = fitted(inputs);
        let (mut y, mut statistics) = (Vec::new(), Vec::new());
        for row in x.data.chunks(x.shape.last()) {
            let count = row.len() as f64;
            // About the first element: f64 too loses digits of a mean far from zero.
            let shifted = || row.iter().map(|x| x - row[0]);
            let mean = shifted().sum::<f64>() / count;
            let variance = shifted().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
            let rstd = (variance + self.eps.get()).sqrt().recip();
            let parameters = weight.data.iter().zip(&bias.data);
            y.extend(shifted().zip(parameters).map(|(x, (w, b))| (x - mean) * rstd * w + b));
            statistics.extend([row[0] + mean, rstd]);
        }
        let of = statistics_type(TensorType::f32(&x.shape));
        vec![Tensor::new(x.shape, y), Tensor::new(of.shape, statistics)]
    }

    fn vjp(&self, backward: &mut Backward, equation: &Equation) -> Result<Gradients, Error> {
        let Some(dy) = backward.cotangent(0) else { return Ok(vec![None; 3]) };
        let [x, weight] = [equation.inputs[0], equation.inputs[1]];
        let statistics = equation.outputs[1];
        let gradients = backward.push_all(LayerNormBackward, &[x, weight, statistics, dy])?;
        Ok(gradients.into_iter().map(Some).collect())
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [x, weight, bias] = fitted(&equation.inputs);
        let [y, statistics_out] = fitted(&equation.outputs);
        let of = lowering.type_of(x);
        let kernel = shader::Forward { x, weight, bias, y, statistics_out };
        let params = params(of, 0, self.eps.get());
        Ok(lowering.push_first(workgroups(lowering).map(|workgroup| {
            let overrides = shader::Overrides { workgroup, ..Default::default() };
            kernel.dispatch(params, overrides, fold(of.rows()))
        }))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(8, inputs, &inputs[..1])
    }

    /// Sums are of whole vec4s, and of differences.
    fn special(&self) -> Special {
        Special::Spreads
    }
}

impl Operator for LayerNormBackward {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [x, weight, statistics, dy] = check.operands()?;
        check.floats("x", x)?;
        check.is("weight", weight, TensorType::f32(&[x.shape.last()]))?;
        check.is("statistics", statistics, statistics_type(x))?;
        check.is("dy", dy, x)?;
        Ok(vec![x, weight, weight])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [x, weight, statistics, dy] = fitted(inputs);
        let channels = x.shape.last();
        let count = channels as f64;
        let mut dx = Vec::new();
        let [mut dweight, mut dbias] = [Tensor::zeros(weight.shape), Tensor::zeros(weight.shape)];
        let rows = x.data.chunks(channels).zip(dy.data.chunks(channels));
        for ((x, dy), known) in rows.zip(statistics.data.chunks(2)) {
            let xhat: Vec<f64> = x.iter().map(|x| (x - known[0]) * known[1]).collect();
            let slope: Vec<f64> = dy.iter().zip(&weight.data).map(|(dy, w)| dy * w).collect();
            let mean_slope = slope.iter().sum::<f64>() / count;
            let mean_product = slope.iter().zip(&xhat).map(|(s, x)| s * x).sum::<f64>() / count;
            for c in 0..channels {
                dx.push(known[1] * (slope[c] - mean_slope - xhat[c] * mean_product));
                dweight.data[c] += dy[c] * xhat[c];
                dbias.data[c] += dy[c];
            }
        }
        vec![Tensor::new(x.shape, dx), dweight, dbias]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [x, weight, statistics, dy] = fitted(&equation.inputs);
        let [dx, dweight, dbias] = fitted(&equation.outputs);
        let of = lowering.type_of(x);
        let slot_rows = slot_rows(of.rows());
        let slots = of.rows().div_ceil(slot_rows);
        let (params, overrides) = (params(of, slot_rows, 0.0), shader::Overrides::default());
        let kernel = shader::Backward { x, weight, statistics, dy, dx };
        lowering.push_first(workgroups(lowering).map(|workgroup| {
            let overrides = shader::Overrides { workgroup, ..overrides };
            kernel.dispatch(params, overrides, fold(of.rows()))
        }))?;

        let [weights, biases] = [dweight, dbias].map(|y| fold_slots::slots(lowering, slots, y));
        let kernel = shader::Parameters { x, statistics, dy, dweight: weights, dbias: biases };
        let grid = [params.channels4.div_ceil(overrides.columns), slots as u32, 1];
        lowering.push(kernel.dispatch(params, overrides, grid))?;
        for (partial, y) in [(weights, dweight), (biases, dbias)] {
            if let Some(fold) = fold_slots::fold(lowering, slots, partial, y) {
                lowering.push(fold)?;
            }
        }
        Ok(())
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(16, inputs, &inputs[..1])
    }

    /// Sums are of whole vec4s, and of differences.
    fn special(&self) -> Special {
        Special::Spreads
    }
}

/// A row's sums have as many terms as `x` has channels.
fn forward(x: Input, eps: f64, [weight, bias]: [Input; 2]) -> Case {
    let terms = x.of.shape.last();
    Case::new(LayerNorm { eps: eps.into() }, vec![x, weight, bias]).half(&[0]).terms(terms)
}

fn backward(x: TensorType) -> Case {
    let [weight, _] = parameters(x.shape.last());
    let statistics = Input::uniform(statistics_type(x), 0.5, 1.5);
    // The parameters' gradients sum over all rows.
    let terms = x.rows().max(x.shape.last());
    let inputs = vec![Input::normal(x), weight, statistics, Input::normal(x)];
    Case::new(LayerNormBackward, inputs).half(&[0, 3]).terms(terms)
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let case = |shape: &[usize], mean: f64, deviation: f64, eps: f64, note: &str| {
        let x = Input::shifted(TensorType::f32(shape), mean, deviation);
        forward(x, eps, parameters(shape[shape.len() - 1])).name(note)
    };
    let backward = |shape: &[usize]| backward(TensorType::f32(shape));
    vec![
        case(&[7, 12], 2.0, 1.0, 1e-5, ""),
        case(&[2, 5, 7], 0.0, 1.0, 1e-5, "odd channels"),
        case(&[3, 1], 0.0, 1.0, 1e-5, "one channel"),
        case(&[2, 65, 320], 0.0, 1.0, 1e-5, ""),
        case(&[3, 40], 0.0, 3e-3, 1e-5, "small deviation"),
        case(&[5, 1280], 50.0, 1.0, 1e-5, "far mean"),
        case(&[5, 1280], 12_345.0, 1.0, 1e-5, "very far mean"),
        case(&[3, 40], 12_345.0, 3e-3, 1e-5, "nearly constant"),
        case(&[3, 41], 12_345.0, 0.0, 1e-5, "constant"),
        case(&[7, 1], 12_345.0, 1.0, 1e-5, "one channel of large numbers"),
        backward(&[7, 12]),
        backward(&[2, 5, 7]),
        backward(&[3, 1]),
        backward(&[9, 65, 130]),
    ]
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    let (x, eps) = (dice.tensor(), dice.pick(EPS));
    let (input, _) = about_a_mean(dice, x, eps);
    dice.one_of([forward(input, eps, parameters(x.shape.last())), backward(x)])
}
