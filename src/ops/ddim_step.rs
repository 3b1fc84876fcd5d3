//! One step of sampling, fused: Song et al. 2021, eq. 12; with other coefficients the ancestral
//! step of Ho et al. 2020, eq. 7.
use super::{
    Backward, Case, Input, Lowering, Operator, ShapeError,
    draw::example_key,
    elementwise_cost,
    random::{Counter, Images, check_images, check_key},
};
use crate::{
    error::Error,
    graph::Equation,
    plan::Cost,
    reference::Tensor,
    shaders::ddim_step as shader,
    value::{TensorType, Value},
};
use std::fmt;

/// Updates `x f32[batch, ..]` where it lies, from the network's `epsilon` of the same shape:
///
/// `x0 = clamp((x - deviation epsilon) inverse_signal, -clip, clip)`
/// `x = a x0 + b epsilon + c x + sigma noise`
///
/// Operands: `x`, `epsilon`, `row f32[8] = (timestep, deviation, inverse_signal, clip, a, b, c,
/// sigma)`, `key u32[8]` and, if `given_noise`, `noise` of the type of `x`; otherwise the noise
/// is drawn in the kernel. `epsilon` is not derived again from the clamped `x0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DdimStep {
    /// Which of the sampler's random streams.
    pub stream: u32,
    /// Whether the noise is an operand.
    pub given_noise: bool,
}

impl fmt::Display for DdimStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ddim_step{{stream={} given_noise={}}}", self.stream, self.given_noise)
    }
}

impl Operator for DdimStep {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let refuse = |message| Err(ShapeError::new("ddim_step", message, inputs));
        let expected = if self.given_noise { 5 } else { 4 };
        if inputs.len() != expected {
            return refuse(format!("takes {expected} operands, found {}", inputs.len()));
        }
        let (x, epsilon, row) = (inputs[0], inputs[1], inputs[2]);
        if x != TensorType::f32(&x.shape) {
            return refuse(format!("x must be f32, found {x}"));
        }
        if epsilon.shape != x.shape {
            return refuse(format!("epsilon must have the shape of x, found {epsilon}"));
        }
        if row != TensorType::f32(&[8]) {
            return refuse(format!("row must be f32[8], found {row}"));
        }
        check_images("ddim_step", x, inputs)?;
        check_key("ddim_step", inputs[3], inputs)?;
        if let Some(noise) = inputs.get(4).filter(|noise| **noise != x) {
            return refuse(format!("noise must be {x}, found {noise}"));
        }
        Ok(vec![x])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let (x, epsilon) = (inputs[0], inputs[1]);
        let [deviation, inverse_signal, clip, a, b, c, sigma] =
            std::array::from_fn(|i| inputs[2].data[i + 1]);
        let noise = match inputs.get(4) {
            Some(noise) => (*noise).clone(),
            None => Counter::read(inputs[3]).normals(x.shape, self.stream),
        };
        let mean = x.zip(epsilon, |x, epsilon| {
            let x0 = ((x - deviation * epsilon) * inverse_signal).clamp(-clip, clip);
            a * x0 + b * epsilon + c * x
        });
        vec![mean.zip(&noise, |mean, noise| mean + sigma * noise)]
    }

    fn vjp(&self, _: &mut Backward, _: &Equation) -> Result<Vec<Option<Value>>, Error> {
        Err(Error::NotDifferentiable { op: self.to_string() })
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let overrides = shader::Overrides::default();
        let of = lowering.type_of(equation.outputs[0]);
        let Images { vectors, channels, channels4, grid } = Images::new(of, overrides.workgroup);
        let params = shader::Params { vectors, channels, channels4, stream: self.stream };
        let kernel = shader::Forward {
            row: equation.inputs[2],
            key: equation.inputs[3],
            epsilon: equation.inputs[1],
            noise: equation.inputs.get(4).copied(),
            x: equation.outputs[0],
        };
        Ok(lowering.push(kernel.dispatch(params, overrides, grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(10, inputs, &inputs[..1])
    }

    fn in_place(&self) -> &[(usize, usize)] {
        &[(0, 0)]
    }
}

pub(super) fn cases() -> Vec<Case> {
    let row = |clip: f64, c: f64, sigma: f64| {
        let numbers = vec![500.0, 0.8, 1.0 / 0.6, clip, 0.7, 0.6, c, sigma];
        Input::values(TensorType::f32(&[8]), numbers)
    };
    let drawn = DdimStep { stream: 1, given_noise: false };
    let given = DdimStep { given_noise: true, ..drawn };
    let mut all = Vec::new();
    for shape in [&[2, 7, 5, 3][..], &[1, 8, 8, 1], &[3, 16, 16, 4]] {
        let x = TensorType::f32(shape);
        let operands = |row| vec![Input::normal(x), Input::normal(x), row, example_key()];
        let with_noise = [operands(row(1.0, 0.0, 0.3)), vec![Input::normal(x)]].concat();
        all.extend([
            Case::new(drawn, operands(row(1.0, 0.0, 0.0))).terms(4).half(&[1]).name("eta 0"),
            Case::new(drawn, operands(row(1.0, 0.0, 0.3))).terms(4).half(&[1]).name("drawn"),
            Case::new(drawn, operands(row(1e30, 0.4, 0.3))).terms(4).name("ancestral"),
            Case::new(given, with_noise).terms(4).half(&[1]),
        ]);
    }
    all
}
