//! The gradient of the bound's terms, for one half of the output at a time.
use super::{Element, VariationalBound, shader};
use crate::{
    ops::{kit::random::Images, prelude::*},
    reference::clamp,
};
use std::f64::consts::{FRAC_2_PI, LN_2};

/// Gradient of the first result of [`VariationalBound`], of the type of `x0`, for the half of the
/// output that gives the image or for the one that says where the variance lies. The last operand
/// is `dbound f32[batch]`.
///
/// Example: [`VariationalBound`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VariationalBoundBackward {
    /// What it is the gradient of.
    pub bound: VariationalBound,
    /// Whether for the half of the variance.
    pub of_variance: bool,
}

display!(
    VariationalBoundBackward { of_variance, bound }:
    "variational_bound_backward{{of_variance={of_variance} {bound}}}"
);

/// Derivatives of the decoder's nats for the error of the predicted image and for the logarithm of
/// the variance.
fn decoder(x0: f64, error: f64, scale: f64, half_bin: f64) -> [f64; 2] {
    // The distribution and its density.
    let normal = |z: f64| {
        let tanh = (FRAC_2_PI.sqrt() * (z + 0.044715 * z.powi(3))).tanh();
        let inner = FRAC_2_PI.sqrt() * (1.0 + 3.0 * 0.044715 * z * z);
        (0.5 * (1.0 + tanh), 0.5 * (1.0 - tanh * tanh) * inner)
    };
    let [upper, lower] = [error + half_bin, error - half_bin].map(|end| scale * end);
    // An open end has no edge there.
    let (above, rise) = if x0 > 0.999 { (1.0, 0.0) } else { normal(upper) };
    let (below, fall) = if x0 < -0.999 { (0.0, 0.0) } else { normal(lower) };
    let mass = above - below;
    if mass < 1e-12 {
        return [0.0; 2];
    }
    // The ends move apart with the scale, which falls with half the logarithm of the variance.
    [-scale * (rise - fall) / mass, 0.5 * (rise * upper - fall * lower) / mass]
}

impl VariationalBoundBackward {
    /// Derivative of an element's nats for its place in the half of the output.
    fn element(&self, row: &[f64], first: bool, fraction: f64, at: Element) -> f64 {
        let [from_x, from_output, weight, span, sharpness] = fitted(row);
        let clip = self.bound.clip.map_or(f64::from(f32::MAX), Float::get);
        let found = from_x * at.x + from_output * at.output;
        let error = at.x0 - clamp(found, clip);
        let d = -span * fraction;
        let [of_error, of_log_variance] = if first {
            decoder(at.x0, error, sharpness * (0.5 * d).exp(), self.bound.half_bin.get())
        } else {
            let weighted = weight * d.exp() * error;
            [2.0 * weighted, -0.5 * d.exp_m1() - weighted * error]
        };
        match self.of_variance {
            // ln variance = .. + span * fraction, and fraction = (v + 1) / 2.
            true => 0.5 * span * of_log_variance,
            false if found.abs() > clip => 0.0,
            false => -from_output * of_error,
        }
    }
}

impl Operator for VariationalBoundBackward {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [output, x0, x, timesteps, table, dbound] = check.operands()?;
        self.bound.check(check, [output, x0, x, timesteps, table])?;
        check.is("dbound", dbound, timesteps)?;
        if self.of_variance && !self.bound.learned {
            return Err(check.conflict("the variance is fixed"));
        }
        Ok(vec![x0])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [output, x0, x, timesteps, table, dbound] = fitted(inputs);
        let (channels, outputs) = (x0.shape.last(), output.shape.last());
        let image = x0.data.len() / dbound.data.len();
        let gradient = (0..x0.data.len()).map(|element| {
            let number = element / image;
            let row = (timesteps.data[number] as usize).min(table.shape[0] - 1);
            let level = &table.data[VariationalBound::COLUMNS * row..][..VariationalBound::COLUMNS];
            let place = element / channels * outputs + element % channels;
            let fraction = match self.bound.learned {
                true => 0.5 * (output.data[place + channels] + 1.0),
                false => 1.0,
            };
            let (x0, x) = (x0.data[element], x.data[element]);
            let at = Element { output: output.data[place], x0, x };
            let slope = self.element(level, row == 0, fraction, at);
            dbound.data[number] * slope / (image as f64 * LN_2)
        });
        vec![Tensor::new(x0.shape, gradient.collect())]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [output, x0, x, timesteps, table, dbound] = fitted(&equation.inputs);
        let params = self.bound.params(lowering, &equation.inputs);
        let overrides = shader::Overrides {
            learned: self.bound.learned,
            of_variance: self.of_variance,
            ..Default::default()
        };
        let half = equation.outputs[0];
        let kernel = shader::Backward { output, x0, x, timesteps, table, dbound, half };
        let grid = Images::new(lowering.type_of(x0), overrides.workgroup).grid;
        Ok(lowering.push(kernel.dispatch(params, overrides, grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(40, inputs, &inputs[1..2])
    }

    /// Slopes are differences of terms that grow.
    fn special(&self) -> Special {
        Special::Spreads
    }
}

/// The gradients of a case of the bound.
pub(super) fn cases(bound: VariationalBound, operands: &[Input]) -> Vec<Case> {
    let dbound = Input::normal(TensorType::f32(&operands[1].of.shape[..1]));
    let inputs = [operands, &[dbound]].concat();
    let halves = [Some(false), bound.learned.then_some(true)];
    let case = |of_variance| {
        // As for the bound, an error is a difference of two numbers near 1 over a deviation of 1/100.
        Case::new(VariationalBoundBackward { bound, of_variance }, inputs.clone())
            .terms(10_000)
            .half(&[0, 1, 2])
            .selecting(&[3])
    };
    halves.into_iter().flatten().map(case).collect()
}
