//! Terms of the variational bound: Ho et al. 2020, eq. 5 and 13; Nichol and Dhariwal 2021, eq. 15.
//! Above 300 lines, a sixth of which is what the cases are filled with.
mod backward;

pub use backward::VariationalBoundBackward;

use crate::{
    ops::{Concat, PadChannels, elementwise::gelu, prelude::*},
    reference::clamp,
    shaders::variational_bound as shader,
};
use std::{f64::consts::LN_2, fmt};

/// Each image's term of the bound at its own timestep, in bits per dimension: above timestep 0
/// the KL divergence of the model's step from the posterior, at timestep 0 the negative logarithm
/// of the mass that the step leaves in the bin of each pixel.
///
/// | operand | type |
/// |---|---|
/// | `output` of the network | `[batch, .., channels]`; twice the channels if `learned` |
/// | `x0`, `x` at the timestep | `[batch, .., channels]` |
/// | `timesteps` | `f32[batch]`, rows of the table |
/// | `table` | `f32[timesteps, 5]`, see [`VariationalBound::COLUMNS`] |
///
/// Results: `bound f32[batch]`, with the tanh approximation of the normal distribution function
/// that the released DDPM and guided-diffusion code take; `measures f32[batch, 4]`: the same once
/// more, the bound with the exact function, the mean squared error of the predicted image, and how
/// many numbers of the output are not finite, of which clipping leaves no trace if they are
/// infinite.
///
/// Of these `bound` has a gradient, for `output`.
///
/// ```
/// use ddim::{ops::{Operator, VariationalBound, VariationalBoundBackward}, value::TensorType};
///
/// let bound = VariationalBound {
///     learned: true,
///     clip: Some(1.0.into()),
///     half_bin: (1.0 / 255.0).into(),
///     frozen_mean: false,
/// };
/// let [x, output] = [3, 6].map(|channels| TensorType::f32(&[2, 8, 8, channels]));
/// let each = TensorType::f32(&[2]);
/// let table = TensorType::f32(&[1000, VariationalBound::COLUMNS]);
/// let types = bound.infer(&[output, x, x, each, table])?;
/// assert_eq!(types, [each, TensorType::f32(&[2, 4])]);
/// let backward = VariationalBoundBackward { bound, of_variance: true };
/// assert_eq!(backward.infer(&[output, x, x, each, table, each])?, [x]);
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VariationalBound {
    /// Does a second half of the output's channels say where the variance lies?
    pub learned: bool,
    /// Largest magnitude of the predicted image, if it is clipped.
    pub clip: Option<Float>,
    /// Half of the distance between two values that a pixel can have: 1/255 for bytes.
    pub half_bin: Float,
    /// Is the first half of the output a constant of the gradient, which then reaches the variance
    /// alone? So in the hybrid loss of Nichol and Dhariwal 2021, eq. 16.
    pub frozen_mean: bool,
}

impl VariationalBound {
    /// Columns of the table: the weights of `x` and of the output in the predicted image; the
    /// weight of its squared error in nats at the posterior's variance,
    /// `beta abar' / (2 (1 - abar) (1 - abar'))`; the logarithm of the largest variance over the
    /// posterior's; and 1 over the posterior's standard deviation.
    pub const COLUMNS: usize = 5;

    fn output_of(self, x: TensorType) -> TensorType {
        if self.learned { x.with_last(2 * x.shape.last()) } else { x }
    }

    /// Checks what the bound and its gradient read.
    fn check(
        self,
        check: Check,
        [output, x0, x, timesteps, table]: [TensorType; 5],
    ) -> Result<(), ShapeError> {
        check.images("x0", x0)?;
        check.is("output", output, self.output_of(x0))?;
        check.is("x", x, x0)?;
        check.is("timesteps", timesteps, TensorType::f32(&x0.shape[..1]))?;
        check.is("table", table, TensorType::f32(&[table.shape[0], Self::COLUMNS]))
    }

    fn params(self, lowering: &Lowering, inputs: &[Value]) -> shader::Params {
        let of = lowering.type_of(inputs[1]);
        let batch = of.shape[0];
        shader::Params {
            batch: batch as u32,
            vectors: (of.vectors() / batch) as u32,
            channels: of.shape.last() as u32,
            channels4: of.pitch() as u32 / 4,
            output4: lowering.type_of(inputs[0]).pitch() as u32 / 4,
            count: lowering.type_of(inputs[4]).rows() as u32,
            clip: self.clip.map_or(f32::MAX, |range| range.get() as f32),
            half_bin: self.half_bin.get() as f32,
            mean: (batch as f64 / of.shape.elements() as f64) as f32,
        }
    }

    /// Nats of one element, with the released code's distribution function and the exact one, and
    /// the error of the predicted image. `fraction` is 1 where the largest variance holds.
    fn element(&self, row: &[f64], first: bool, fraction: f64, at: Element) -> [f64; 3] {
        let [from_x, from_output, weight, span, sharpness] = fitted(row);
        let clip = self.clip.map_or(f64::from(f32::MAX), Float::get);
        let error = at.x0 - clamp(from_x * at.x + from_output * at.output, clip);
        let d = -span * fraction;
        if !first {
            let nats = 0.5 * (d.exp_m1() - d) + weight * d.exp() * error * error;
            return [nats, nats, error];
        }
        let (scale, half_bin) = (sharpness * (0.5 * d).exp(), self.half_bin.get());
        let (upper, lower) = (scale * (error + half_bin), scale * (error - half_bin));
        let nats = |cdf: fn(f64) -> f64| {
            let mass = match at.x0 {
                x0 if x0 < -0.999 => cdf(upper),
                x0 if x0 > 0.999 => cdf(-lower),
                _ => cdf(upper) - cdf(lower),
            };
            if mass.is_nan() { mass } else { -mass.max(1e-12).ln() }
        };
        [nats(released_cdf), nats(gelu::below), error]
    }
}

/// What a pixel's channel brings.
#[derive(Clone, Copy)]
struct Element {
    output: f64,
    x0: f64,
    x: f64,
}

fn released_cdf(z: f64) -> f64 {
    0.5 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (z + 0.044715 * z.powi(3))).tanh())
}

impl fmt::Display for VariationalBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "variational_bound{{")?;
        if self.learned {
            write!(f, "learned ")?;
        }
        if let Some(clip) = self.clip {
            write!(f, "clip={clip} ")?;
        }
        write!(f, "half_bin={} frozen_mean={}}}", self.half_bin, self.frozen_mean)
    }
}

impl Operator for VariationalBound {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        self.check(check, check.operands()?)?;
        let batch = inputs[1].shape[0];
        Ok(vec![TensorType::f32(&[batch]), TensorType::f32(&[batch, 4])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [output, x0, x, timesteps, table] = fitted(inputs);
        let (batch, channels, outputs) = (x0.shape[0], x0.shape.last(), output.shape.last());
        let image = x0.data.len() / batch;
        let (mut bound, mut measures) = (Vec::new(), Vec::new());
        for number in 0..batch {
            let row = (timesteps.data[number] as usize).min(table.shape[0] - 1);
            let level = &table.data[Self::COLUMNS * row..][..Self::COLUMNS];
            let (mut sums, mut bad) = ([0.0; 3], 0.0);
            for element in number * image..(number + 1) * image {
                let place = element / channels * outputs + element % channels;
                let fraction =
                    if self.learned { 0.5 * (output.data[place + channels] + 1.0) } else { 1.0 };
                for number in [output.data[place], fraction] {
                    bad += f64::from(u8::from(!number.is_finite()));
                }
                let at = Element {
                    output: output.data[place],
                    x0: x0.data[element],
                    x: x.data[element],
                };
                let [nats, exact, error] = self.element(level, row == 0, fraction, at);
                for (sum, term) in sums.iter_mut().zip([nats, exact, error * error]) {
                    *sum += term / image as f64;
                }
            }
            bound.push(sums[0] / LN_2);
            measures.extend([sums[0] / LN_2, sums[1] / LN_2, sums[2], bad]);
        }
        let of = |shape: &[usize]| TensorType::f32(shape).shape;
        vec![Tensor::new(of(&[batch]), bound), Tensor::new(of(&[batch, 4]), measures)]
    }

    /// A term is the logarithm of a probability.
    fn scale(&self) -> f64 {
        1.0
    }

    fn vjp(&self, backward: &mut Backward, equation: &Equation) -> Result<Gradients, Error> {
        let mut gradients = vec![None; 5];
        let Some(dbound) = backward.cotangent(0) else { return Ok(gradients) };
        let operands = [&equation.inputs[..], &[dbound]].concat();
        let mut half = |of_variance| {
            backward.push(VariationalBoundBackward { bound: *self, of_variance }, &operands)
        };
        gradients[0] = match (self.learned, self.frozen_mean) {
            (false, false) => Some(half(false)?),
            (false, true) => None,
            (true, false) => {
                let halves = [half(false)?, half(true)?];
                Some(backward.push(Concat, &halves)?)
            }
            (true, true) => {
                let variance = half(true)?;
                let before = backward.type_of(variance).shape.last();
                Some(backward.push(PadChannels { before, after: 0 }, &[variance])?)
            }
        };
        Ok(gradients)
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [output, x0, x, timesteps, table] = fitted(&equation.inputs);
        let params = self.params(lowering, &equation.inputs);
        let overrides = shader::Overrides { learned: self.learned, ..Default::default() };
        let [bound, measures] = fitted(&equation.outputs);
        let kernel = shader::Forward { output, x0, x, timesteps, table, bound, measures };
        Ok(lowering.push(kernel.dispatch(params, overrides, fold(params.batch as usize)))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        let elements = inputs[1].shape.elements() as u64;
        Cost { flops: 20 * elements, bytes: inputs[..3].iter().map(TensorType::bytes).sum() }
    }

    /// Squares pass the largest f32.
    fn special(&self) -> Special {
        Special::Spreads
    }
}

/// A table of a few timesteps of a model that predicts the noise, and the signal that is left at
/// each.
fn example_table(span: f64) -> (Vec<f64>, Vec<f64>) {
    let (mut signal, mut table, mut alphas) = (1.0, Vec::new(), Vec::new());
    for (beta, posterior) in [(1e-4, 6e-5), (4e-4, 6e-5), (0.01, 5e-4), (0.3, 0.01)] {
        let (before, left) = (signal, signal * (1.0 - beta));
        let weight =
            if before < 1.0 { beta * before / (2.0 * (1.0 - before) * (1.0 - left)) } else { 0.0 };
        let from_output = -(1.0_f64 / left - 1.0).sqrt();
        table.extend([left.sqrt().recip(), from_output, weight, span]);
        table.push(f64::sqrt(posterior).recip());
        alphas.push(left);
        signal = left;
    }
    (table, alphas)
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let case = |shape: &[usize], levels: f64, learned, clip: Option<f64>, span| {
        let (clip, half_bin) = (clip.map(Float::from), (1.0 / levels).into());
        let op = VariationalBound { learned, clip, half_bin, frozen_mean: false };
        at(op, TensorType::f32(shape), levels, span)
    };
    let mut all = case(&[MANY_IMAGES, 1], 255.0, true, Some(1.0), 0.9);
    for (shape, levels) in [(&[5, 7, 5, 3][..], 255.0), (&[4, 8, 8, 1], 16.0), (&[3, 33, 6], 255.0)]
    {
        all.extend(case(shape, levels, false, Some(1.0), 0.0));
        all.extend(case(shape, levels, false, None, 0.9));
        all.extend(case(shape, levels, true, Some(1.0), 0.9));
    }
    all
}

/// The bound of images of this type, whose pixels have so many levels less one, and its gradients
/// before it.
fn at(op: VariationalBound, of: TensorType, levels: f64, span: f64) -> Vec<Case> {
    let batch = of.shape[0];
    let (table, alphas) = example_table(span);
    let timesteps: Vec<f64> = (0..batch).map(|image| (image % 4) as f64).collect();
    // Pixels at their values, the darkest and the brightest among them, and x near where
    // noise takes them, so that no mass falls to its least.
    let noise = Input::normal(of).tensor(1);
    let drawn = Input::uniform(of, 0.0, 1.0).tensor(2);
    let x0 = drawn.map(|u| (u * (levels + 0.99)).floor() / levels * 2.0 - 1.0);
    let image = of.shape.elements() / batch;
    let at = |element: usize| alphas[timesteps[element / image] as usize];
    let pairs = x0.data.iter().zip(&noise.data).enumerate();
    let x = pairs.map(|(i, (x0, noise))| at(i).sqrt() * x0 + (1.0 - at(i)).sqrt() * noise);
    let (x, x0) = (Input::values(of, x.collect()), Input::values(of, x0.data));
    let operands = vec![
        Input::normal(op.output_of(of)),
        x0,
        x,
        Input::values(TensorType::f32(&[batch]), timesteps),
        Input::values(TensorType::f32(&[4, VariationalBound::COLUMNS]), table),
    ];
    // The error of an element enters as a difference of two numbers near 1, over a
    // deviation of 1/100.
    let mut all = backward::cases(op, &operands);
    all.push(Case::new(op, operands).terms(100 * image).half(&[0, 1, 2]).selecting(&[3]));
    all
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    let (learned, levels) = (dice.flip(), dice.pick([16.0, 255.0]));
    let op = VariationalBound {
        learned,
        clip: dice.flip().then(|| 1.0.into()),
        half_bin: (1.0 / levels).into(),
        frozen_mean: learned && dice.flip(),
    };
    let (x, span) = (dice.spatial(), dice.pick([0.0, 0.9]));
    dice.one_of(at(op, x, levels, span))
}
