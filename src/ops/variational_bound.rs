//! Terms of the variational bound: Ho et al. 2020, eq. 5 to 8 and 13; the learned variance is that
//! of Nichol and Dhariwal 2021, eq. 15.
use super::{
    Backward, Case, Input, Lowering, Operator, ShapeError, elementwise_cost,
    random::{Images, check_images},
};
use crate::{
    error::Error,
    graph::Equation,
    plan::Cost,
    reference::Tensor,
    shaders::variational_bound as shader,
    value::{Float, TensorType, Value},
};
use std::{
    f64::consts::{FRAC_2_PI, LN_2},
    fmt,
};

/// `terms f32[batch]`, in bits per dimension (nats, meant over an image's elements, over ln 2): at a
/// timestep above 0 the divergence of the model's step from the posterior `q(x_{t-1} | x_t, x_0)`;
/// at timestep 0 the negative logarithm of the discretised decoder, with bins of 1/255 to each side,
/// open at both ends, probabilities of at least 1e-12, and the tanh approximation of the normal
/// distribution that the released code of both papers has.
///
/// | operand | shape |
/// |---|---|
/// | `output` | `[batch, .., channels]`: what the network says of the image |
/// | `variance`, if `learned` | as `output`: -1 is the smaller log variance, 1 the larger |
/// | `x0`, `x` | as `output`: the image, and `x_t` |
/// | `timesteps` | `[batch]`, f32 |
/// | `table` | `[count, 8]`, f32, as [`Schedule::bound_table`](crate::diffusion::schedule::Schedule::bound_table) makes it |
///
/// With the columns named (a, b, w, u, t, low, high, 0), the predicted image is `a x + b output`,
/// clipped; the model's mean `w predicted + u x`; the posterior's log variance `t`; the model's
/// `low`, or `low + (variance + 1) / 2 (high - low)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VariationalBound {
    /// Whether the network says the variance too.
    pub learned: bool,
    /// Whether `output` is a constant of the gradient, which then reaches the variance alone.
    pub frozen_mean: bool,
    /// Largest magnitude of the predicted image, if it is clipped.
    pub clip: Option<Float>,
}

/// Gradient of [`VariationalBound`] for `output`, or for `variance`; the last operand is
/// `dterms f32[batch]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VariationalBoundBackward {
    /// What it is the gradient of.
    pub bound: VariationalBound,
    /// Whether of the variance.
    pub of_variance: bool,
}

impl fmt::Display for VariationalBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { learned, frozen_mean, clip } = self;
        write!(f, "variational_bound{{learned={learned} frozen_mean={frozen_mean}")?;
        clip.map_or(Ok(()), |clip| write!(f, " clip={clip}"))?;
        f.write_str("}")
    }
}

impl fmt::Display for VariationalBoundBackward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = if self.of_variance { "variance" } else { "output" };
        write!(f, "variational_bound_backward{{of={of} learned={}", self.bound.learned)?;
        self.bound.clip.map_or(Ok(()), |clip| write!(f, " clip={clip}"))?;
        f.write_str("}")
    }
}

/// The operands by name.
struct Operands<T> {
    output: T,
    variance: Option<T>,
    x0: T,
    x: T,
    timesteps: T,
    table: T,
}

impl VariationalBound {
    /// The operands, if they are as many as there should be, and those behind them.
    fn split<'a, T: Copy>(&self, inputs: &'a [T]) -> Option<(Operands<T>, &'a [T])> {
        let (&output, rest) = inputs.split_first()?;
        let (variance, rest) = match self.learned {
            true => rest.split_first().map(|(&variance, rest)| (Some(variance), rest))?,
            false => (None, rest),
        };
        let (&[x0, x, timesteps, table], rest) = rest.split_first_chunk()?;
        Some((Operands { output, variance, x0, x, timesteps, table }, rest))
    }

    /// Checks the operands but the last `behind`, and returns the type of the terms.
    fn check(
        &self,
        op: &str,
        inputs: &[TensorType],
        behind: usize,
    ) -> Result<TensorType, ShapeError> {
        let wrong = |message| Err(ShapeError::new(op, message, inputs));
        let Some((operands, _)) = self.split(inputs).filter(|(_, rest)| rest.len() == behind)
        else {
            let takes = 5 + usize::from(self.learned) + behind;
            return wrong(format!("takes {takes} operands, found {}", inputs.len()));
        };
        check_images(op, operands.x, inputs)?;
        let (x, variance) = (operands.x, operands.variance.unwrap_or(operands.x));
        for (name, found) in
            [("output", operands.output), ("variance", variance), ("x0", operands.x0)]
        {
            if found != x {
                return wrong(format!("{name} must be {x}, found {found}"));
            }
        }
        let batch = TensorType::f32(&[x.shape[0]]);
        let table = operands.table;
        for (name, found, expected) in [
            ("timesteps", operands.timesteps, batch),
            ("table", table, TensorType::f32(&[table.shape[0], 8])),
        ] {
            if found != expected {
                return wrong(format!("{name} must be {expected}, found {found}"));
            }
        }
        if let Some(clip) = self.clip.filter(|clip| clip.get().is_nan() || clip.get() <= 0.0) {
            return wrong(format!("clip must be above 0, found {clip}"));
        }
        Ok(batch)
    }

    /// What each element adds to its image's term, and the derivatives of that for `output` and
    /// `variance`.
    fn elements(&self, inputs: &[&Tensor]) -> Vec<[f64; 3]> {
        let (of, _) = self.split(inputs).expect("operands fit, as infer found");
        let image = of.x.data.len() / of.x.shape[0];
        let bits = 1.0 / (image as f64 * LN_2);
        let clip = self.clip.map_or(f64::INFINITY, Float::get);
        let element = |i: usize| {
            let row = (of.timesteps.data[i / image] as usize).min(of.table.shape[0] - 1);
            let columns = &of.table.data[8 * row..8 * row + 8];
            let &[a, b, w, u, posterior, low, high, _] = columns else {
                unreachable!("eight columns, as infer found")
            };
            let (x0, x) = (of.x0.data[i], of.x.data[i]);
            let found = a * x + b * of.output.data[i];
            let predicted = found.clamp(-clip, clip);
            let share = of.variance.map_or(0.0, |v| 0.5 * (v.data[i] + 1.0));
            let log_variance = low + share * (high - low);
            let (term, of_predicted, of_log) = if row == 0 {
                let (term, of_mean, of_log) = decoder(x0, w * predicted + u * x, log_variance);
                (term, w * of_mean, of_log)
            } else {
                let (distance, ratio) = (w * (x0 - predicted), posterior - log_variance);
                let square = distance * distance * (-log_variance).exp();
                let term = 0.5 * (ratio.exp() - 1.0 - ratio + square);
                let of_predicted = -w * distance * (-log_variance).exp();
                (term, of_predicted, 0.5 * (1.0 - ratio.exp() - square))
            };
            let of_output = if found.abs() > clip { 0.0 } else { b * of_predicted };
            [term, of_output, 0.5 * (high - low) * of_log].map(|number| bits * number)
        };
        (0..of.x.data.len()).map(element).collect()
    }

    fn params(&self, lowering: &Lowering, inputs: &[Value]) -> (shader::Params, [u32; 3]) {
        let (operands, _) = self.split(inputs).expect("operands fit, as infer found");
        let of = lowering.type_of(operands.x);
        let Images { vectors, channels, channels4, grid } =
            Images::new(of, shader::Overrides::default().workgroup);
        let batch = of.shape[0];
        let params = shader::Params {
            batch: batch as u32,
            vectors,
            channels,
            channels4,
            count: lowering.type_of(operands.table).rows() as u32,
            clip: self.clip.map_or(f32::MAX, |clip| clip.get() as f32),
            bits: (1.0 / ((of.shape.elements() / batch) as f64 * LN_2)) as f32,
        };
        (params, grid)
    }
}

/// The negative logarithm of the discretised decoder, and its derivatives for the mean and the
/// logarithm of the variance.
fn decoder(x0: f64, mean: f64, log_variance: f64) -> (f64, f64, f64) {
    let scale = (-0.5 * log_variance).exp();
    // The distribution and its density.
    let normal = |z: f64| {
        let tanh = (FRAC_2_PI.sqrt() * (z + 0.044715 * z.powi(3))).tanh();
        let inner = FRAC_2_PI.sqrt() * (1.0 + 3.0 * 0.044715 * z * z);
        (0.5 * (1.0 + tanh), 0.5 * (1.0 - tanh * tanh) * inner)
    };
    let [high, low] = [1.0, -1.0].map(|sign: f64| scale * (x0 - mean + sign / 255.0));
    let ((above, above_density), (below, below_density)) = (normal(high), normal(low));
    // An open end has no edge there.
    let (above, above_density) = if x0 > 0.999 { (1.0, 0.0) } else { (above, above_density) };
    let (below, below_density) = if x0 < -0.999 { (0.0, 0.0) } else { (below, below_density) };
    let probability = above - below;
    if probability < 1e-12 {
        return (-1e-12_f64.ln(), 0.0, 0.0);
    }
    let of_mean = scale * (above_density - below_density) / probability;
    let of_log = 0.5 * (above_density * high - below_density * low) / probability;
    (-probability.ln(), of_mean, of_log)
}

impl Operator for VariationalBound {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        Ok(vec![self.check("variational_bound", inputs, 0)?])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let batch = inputs[0].shape[0];
        let elements = self.elements(inputs);
        let images = elements.chunks(elements.len() / batch);
        let terms = images.map(|image| image.iter().map(|[term, ..]| term).sum()).collect();
        vec![Tensor::new(TensorType::f32(&[batch]).shape, terms)]
    }

    fn vjp(
        &self,
        backward: &mut Backward,
        equation: &Equation,
    ) -> Result<Vec<Option<Value>>, Error> {
        let mut gradients = vec![None; equation.inputs.len()];
        let Some(dterms) = backward.cotangent(0) else { return Ok(gradients) };
        let operands = [&equation.inputs[..], &[dterms]].concat();
        for (input, of_variance) in [(0, false), (1, true)] {
            let wanted = if of_variance { self.learned } else { !self.frozen_mean };
            if wanted && backward.needs(input) {
                let op = VariationalBoundBackward { bound: *self, of_variance };
                gradients[input] = Some(backward.push(op, &operands)?);
            }
        }
        Ok(gradients)
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let (params, _) = self.params(lowering, &equation.inputs);
        let (of, _) = self.split(&equation.inputs).expect("operands fit, as infer found");
        let kernel = shader::Forward {
            output: of.output,
            variance: of.variance,
            x0: of.x0,
            x: of.x,
            timesteps: of.timesteps,
            table: of.table,
            terms: equation.outputs[0],
        };
        let grid = [params.batch.next_multiple_of(4), 1, 1];
        Ok(lowering.push(kernel.dispatch(params, shader::Overrides::default(), grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        let bytes = inputs.iter().map(TensorType::bytes).sum();
        Cost { flops: 30 * inputs[0].shape.elements() as u64, bytes }
    }
}

impl Operator for VariationalBoundBackward {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let op = "variational_bound_backward";
        let terms = self.bound.check(op, inputs, 1)?;
        let dterms = inputs[inputs.len() - 1];
        if dterms != terms {
            let message = format!("dterms must be {terms}, found {dterms}");
            return Err(ShapeError::new(op, message, inputs));
        }
        Ok(vec![inputs[0]])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let dterms = inputs[inputs.len() - 1];
        let elements = self.bound.elements(inputs);
        let image = elements.len() / dterms.data.len();
        let column = if self.of_variance { 2 } else { 1 };
        let pairs = elements.iter().enumerate();
        let data = pairs.map(|(i, element)| dterms.data[i / image] * element[column]);
        vec![Tensor::new(inputs[0].shape, data.collect())]
    }

    fn vjp(&self, _: &mut Backward, _: &Equation) -> Result<Vec<Option<Value>>, Error> {
        Err(Error::NotDifferentiable { op: self.to_string() })
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let (params, grid) = self.bound.params(lowering, &equation.inputs);
        let (of, rest) = self.bound.split(&equation.inputs).expect("operands fit, as infer found");
        let kernel = shader::Backward {
            output: of.output,
            variance: of.variance,
            x0: of.x0,
            x: of.x,
            timesteps: of.timesteps,
            table: of.table,
            dterms: rest[0],
            gradient: equation.outputs[0],
        };
        let overrides =
            shader::Overrides { of_variance: self.of_variance, ..shader::Overrides::default() };
        Ok(lowering.push(kernel.dispatch(params, overrides, grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(40, inputs, &inputs[..1])
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for shape in [&[4, 7, 5, 3][..], &[3, 8, 8, 1], &[6, 16, 16, 4]] {
        let of = TensorType::f32(shape);
        // Pixels are bytes, both ends among them; x is near enough for the decoder to be in doubt.
        let bytes = Input::below(of, 256).tensor(11).map(|byte| byte / 127.5 - 1.0);
        let x = bytes.zip(&Input::normal(of).tensor(12), |x0, noise| x0 + 0.02 * noise);
        // Timestep 0 of the linear schedule; one whose posterior is nearly the model's step; one far up.
        let table = vec![
            [1.00005, -0.0100005, 1.0, 0.0, -9.818, -9.818, -9.21, 0.0],
            [1.02, -0.2, 0.2, 0.8, -6.01, -6.015, -5.9, 0.0],
            [3.0, -2.8, 0.02, 0.97, -4.2, -4.2, -4.1, 0.0],
        ];
        let batch = TensorType::f32(&shape[..1]);
        let timesteps = (0..shape[0]).map(|image| (image % 3) as f64).collect();
        let rest = [
            Input::values(of, bytes.data),
            Input::values(of, x.data),
            Input::values(batch, timesteps),
            Input::values(TensorType::f32(&[3, 8]), table.concat()),
        ];
        for (learned, frozen_mean, clip) in [
            (false, false, None),
            (true, false, None),
            (true, true, Some(1.0)),
            (false, false, Some(1.0)),
        ] {
            let bound = VariationalBound { learned, frozen_mean, clip: clip.map(Float::from) };
            let mut inputs = vec![Input::normal(of)];
            inputs.extend(learned.then(|| Input::uniform(of, -1.2, 1.2)));
            inputs.extend(rest.iter().cloned());
            let terms = of.shape.elements() / shape[0];
            all.push(Case::new(bound, inputs.clone()).terms(terms));
            inputs.push(Input::normal(batch));
            for of_variance in [false, true] {
                if !of_variance || learned {
                    let op = VariationalBoundBackward { bound, of_variance };
                    // Each element comes of a dozen roundings, the largest of them in exponents near 10.
                    all.push(Case::new(op, inputs.clone()).terms(100));
                }
            }
        }
    }
    all
}
