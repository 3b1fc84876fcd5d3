//! Mean-squared error: the simple loss of Ho et al. 2020, eq. 14.
use crate::{ops::prelude::*, shaders::mean_squared_error as shader};
use std::fmt;

/// What the squared differences are divided by.
///
/// Example: [`MeanSquaredError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// All elements: DDPM, diffusers.
    Mean,
    /// The batch, after a sum over each image: the code of the DDIM paper.
    ImageSum,
}

impl Reduction {
    /// Each of them.
    pub(in crate::ops) const ALL: [Self; 2] = [Self::Mean, Self::ImageSum];

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
///
/// ```
/// use ddim::ops::{MeanSquaredError, MeanSquaredErrorBackward, Operator, Reduction};
/// use ddim::{reference::Tensor, value::Shape};
///
/// let reduction = Reduction::Mean;
/// let tensor = |data: &[f64]| Tensor::new(Shape::new(&[1, data.len()]), data.to_vec());
/// let (found, expected) = (tensor(&[1.0, 2.0]), tensor(&[1.0, 4.0]));
/// assert_eq!(MeanSquaredError { reduction }.reference(&[&found, &expected])[0].data, [2.0]);
/// let dloss = Tensor::new(Shape::new(&[1]), vec![1.0]);
/// let gradient = MeanSquaredErrorBackward { reduction }.reference(&[&found, &expected, &dloss]);
/// assert_eq!(gradient[0].data, [0.0, -2.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MeanSquaredError {
    /// How the squares are reduced.
    pub reduction: Reduction,
}

/// `dprediction`; operands `prediction`, `expected` and `dloss f32[1]`.
///
/// Example: [`MeanSquaredError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MeanSquaredErrorBackward {
    /// How the squares were reduced.
    pub reduction: Reduction,
}

display!("mean_squared_error", MeanSquaredError { reduction });

display!("mean_squared_error_backward", MeanSquaredErrorBackward { reduction });

fn check_pair(
    check: Check,
    prediction: TensorType,
    expected: TensorType,
) -> Result<(), ShapeError> {
    check.floats("prediction", prediction)?;
    if prediction != expected {
        return Err(check.conflict("prediction and expected differ in type"));
    }
    Ok(())
}

/// Workgroups of a kernel that leaves one partial sum per workgroup: enough to fill a device,
/// few enough for one workgroup to add their sums.
pub(in crate::ops) fn partial_sums(vectors: usize, workgroup: u32) -> usize {
    vectors.div_ceil(4 * workgroup as usize).clamp(1, 256)
}

impl Operator for MeanSquaredError {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [prediction, expected] = check.operands()?;
        check_pair(check, prediction, expected)?;
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
        let [prediction, expected] = fitted(&equation.inputs);
        // The loss is symmetric in its operands.
        let mut gradient = |i, a, b| {
            let push = backward.needs(i).then(|| backward.push(op, &[a, b, dloss]));
            push.transpose()
        };
        Ok(vec![gradient(0, prediction, expected)?, gradient(1, expected, prediction)?])
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [prediction, expected] = fitted(&equation.inputs);
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
        let check = Check::new(self, inputs);
        let [prediction, expected, dloss] = check.operands()?;
        check_pair(check, prediction, expected)?;
        check.is("dloss", dloss, TensorType::f32(&[1]))?;
        Ok(vec![prediction])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let of = TensorType::f32(&inputs[0].shape);
        let factor = 2.0 * self.reduction.factor(of) * inputs[2].data[0];
        vec![inputs[0].zip(inputs[1], |p, e| factor * (p - e))]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [prediction, expected, dloss] = fitted(&equation.inputs);
        let of = lowering.type_of(prediction);
        let params = shader::Params {
            vectors: of.vectors() as u32,
            groups: 0,
            factor: self.reduction.factor(of) as f32,
        };
        let dprediction = equation.outputs[0];
        let kernel = shader::Backward { prediction, expected, dloss, dprediction };
        Ok(lowering.push(kernel.over(params, of.vectors()))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(2, inputs, &inputs[..1])
    }
}

fn both(of: TensorType, reduction: Reduction) -> [Case; 2] {
    let dloss = Input::values(TensorType::f32(&[1]), vec![0.75]);
    let inputs = [Input::normal(of), Input::normal(of), dloss];
    let forward = Case::new(MeanSquaredError { reduction }, inputs[..2].to_vec());
    let backward = Case::new(MeanSquaredErrorBackward { reduction }, inputs.into());
    [forward.terms(of.shape.elements()), backward].map(|case| case.half(&[0, 1]))
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    [&[2, 7, 5, 3][..], &[1, 1, 1, 1], &[5, 32, 32, 4]]
        .into_iter()
        .flat_map(|shape| Reduction::ALL.map(|by| both(TensorType::f32(shape), by)))
        .flatten()
        .collect()
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    let (of, reduction) = (dice.image(), dice.pick(Reduction::ALL));
    dice.one_of(both(of, reduction))
}
