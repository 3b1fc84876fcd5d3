//! Mean-squared error: the simple loss of Ho et al. 2020, eq. 14.
use crate::{
    error::{Error, ShapeError},
    graph::Equation,
    ops::{
        Backward, Case, Gradients, Input, Lowering, Operator, check, display, elementwise_cost,
        floats, operands,
    },
    plan::Cost,
    reference::Tensor,
    shaders::mean_squared_error as shader,
    value::TensorType,
};
use std::fmt;

/// What the squared differences are divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// All elements: DDPM, diffusers.
    Mean,
    /// The batch, after a sum over each image: the code of the DDIM paper.
    ImageSum,
}

impl Reduction {
    /// What the sum of squares is multiplied by, for a prediction of this type.
    fn factor(self, of: TensorType) -> f64 {
        match self {
            Self::Mean => 1.0 / of.shape.elements() as f64,
            Self::ImageSum => 1.0 / of.shape[0] as f64,
        }
    }
}

impl fmt::Display for Reduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mean => "mean",
            Self::ImageSum => "image_sum",
        })
    }
}

/// `loss f32[1]`, the reduced squares of `prediction - expected`; the operands are of one type
/// `[batch, ..]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MeanSquaredError {
    /// How the squares are reduced.
    pub reduction: Reduction,
}

/// `dprediction`; operands `prediction`, `expected` and `dloss f32[1]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MeanSquaredErrorBackward {
    /// How the squares were reduced.
    pub reduction: Reduction,
}

display!("mean_squared_error", MeanSquaredError { reduction });

display!("mean_squared_error_backward", MeanSquaredErrorBackward { reduction });

/// Workgroups of a kernel that leaves one partial sum per workgroup: enough to fill a device,
/// few enough for one workgroup to add their sums.
pub(in crate::ops) fn partial_sums(vectors: usize, workgroup: u32) -> usize {
    vectors.div_ceil(4 * workgroup as usize).clamp(1, 256)
}

impl Operator for MeanSquaredError {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let [prediction, expected] = operands("mean_squared_error", inputs)?;
        floats("mean_squared_error", "prediction", prediction, inputs)?;
        if prediction != expected {
            let message = "prediction and expected differ in type";
            return Err(ShapeError::conflict("mean_squared_error", message, inputs));
        }
        Ok(vec![TensorType::f32(&[1])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let of = TensorType::f32(&inputs[0].shape);
        let sum: f64 = inputs[0].zip(inputs[1], |p, e| (p - e) * (p - e)).data.iter().sum();
        let loss = TensorType::f32(&[1]);
        vec![Tensor::new(loss.shape, vec![self.reduction.factor(of) * sum])]
    }

    fn vjp(&self, backward: &mut Backward, equation: &Equation) -> Result<Gradients, Error> {
        let dloss = backward.dy();
        let op = MeanSquaredErrorBackward { reduction: self.reduction };
        let [prediction, expected] = [equation.inputs[0], equation.inputs[1]];
        // The loss is symmetric in its operands.
        let mut gradient = |i, a, b| {
            let push = backward.needs(i).then(|| backward.push(op, &[a, b, dloss]));
            push.transpose()
        };
        Ok(vec![gradient(0, prediction, expected)?, gradient(1, expected, prediction)?])
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [prediction, expected] = [equation.inputs[0], equation.inputs[1]];
        let of = lowering.type_of(prediction);
        let overrides = shader::Overrides::default();
        let groups = partial_sums(of.vectors(), overrides.workgroup);
        let partials = lowering.scratch(TensorType::f32(&[groups]));
        let params = shader::Params {
            vectors: of.vectors() as u32,
            groups: groups as u32,
            factor: self.reduction.factor(of) as f32,
        };
        let parts = shader::Parts { prediction, expected, partials };
        lowering.push(parts.dispatch(params, overrides, [groups as u32, 1, 1]))?;
        let total = shader::Fold { sums: partials, loss: equation.outputs[0] };
        Ok(lowering.push(total.dispatch(params, overrides, [1, 1, 1]))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        let flops = 3 * inputs[0].shape.elements() as u64;
        Cost { flops, bytes: inputs[0].bytes() + inputs[1].bytes() }
    }
}

impl Operator for MeanSquaredErrorBackward {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let [prediction, expected, dloss] = operands("mean_squared_error_backward", inputs)?;
        floats("mean_squared_error_backward", "prediction", prediction, inputs)?;
        let refuse =
            |message| Err(ShapeError::conflict("mean_squared_error_backward", message, inputs));
        if prediction != expected {
            return refuse("prediction and expected differ in type".to_owned());
        }
        check("mean_squared_error_backward", "dloss", dloss, TensorType::f32(&[1]), inputs)?;
        Ok(vec![prediction])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let of = TensorType::f32(&inputs[0].shape);
        let factor = 2.0 * self.reduction.factor(of) * inputs[2].data[0];
        vec![inputs[0].zip(inputs[1], |p, e| factor * (p - e))]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let of = lowering.type_of(equation.inputs[0]);
        let params = shader::Params {
            vectors: of.vectors() as u32,
            groups: 0,
            factor: self.reduction.factor(of) as f32,
        };
        let kernel = shader::Backward {
            prediction: equation.inputs[0],
            expected: equation.inputs[1],
            dloss: equation.inputs[2],
            dprediction: equation.outputs[0],
        };
        Ok(lowering.push(kernel.over(params, of.vectors()))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(2, inputs, &inputs[..1])
    }
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for shape in [&[2, 7, 5, 3][..], &[1, 1, 1, 1], &[5, 32, 32, 4]] {
        let of = TensorType::f32(shape);
        let pair = vec![Input::normal(of), Input::normal(of)];
        let dloss = Input::values(TensorType::f32(&[1]), vec![0.75]);
        for reduction in [Reduction::Mean, Reduction::ImageSum] {
            let case = Case::new(MeanSquaredError { reduction }, pair.clone());
            all.push(case.terms(of.shape.elements()).half(&[0, 1]));
            let operands = [pair.clone(), vec![dloss.clone()]].concat();
            all.push(Case::new(MeanSquaredErrorBackward { reduction }, operands).half(&[0, 1]));
        }
    }
    all
}
