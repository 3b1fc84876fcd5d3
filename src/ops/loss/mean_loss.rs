//! The mean of the losses of images that may count differently.
use crate::{ops::prelude::*, shaders::mean_loss as shader};

/// `loss f32[1]`: the mean of `losses f32[batch]`, each times its own factor if there is a second
/// operand, `factors f32[batch]`.
///
/// ```
/// use ddim::{ops::{MeanLoss, MeanLossBackward, Operator}, reference::Tensor, value::Shape};
///
/// let tensor = |data: &[f64]| Tensor::new(Shape::new(&[data.len()]), data.to_vec());
/// let (losses, factors) = (tensor(&[1.0, 3.0]), tensor(&[1.0, 0.5]));
/// assert_eq!(MeanLoss.reference(&[&losses])[0].data, [2.0]);
/// assert_eq!(MeanLoss.reference(&[&losses, &factors])[0].data, [1.25]);
/// let dlosses = MeanLossBackward { batch: 2 }.reference(&[&tensor(&[1.0]), &factors]);
/// assert_eq!(dlosses[0].data, [0.5, 0.25]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MeanLoss;

/// `dlosses f32[batch]`; operands `dloss f32[1]` and perhaps `factors f32[batch]`.
///
/// Example: [`MeanLoss`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MeanLossBackward {
    /// Images.
    pub batch: usize,
}

display!("mean_loss", MeanLoss);

display!("mean_loss_backward", MeanLossBackward { batch });

/// Checks the first operand and the factors, if there are any.
fn check_mean(
    check: Check,
    inputs: &[TensorType],
    name: &str,
    expected: TensorType,
    batch: TensorType,
) -> Result<(), ShapeError> {
    match *inputs {
        [first] => check.is(name, first, expected),
        [first, factors] => {
            check.is(name, first, expected)?;
            check.is("factors", factors, batch)
        }
        _ => Err(check.count("1 or 2")),
    }
}

impl Operator for MeanLoss {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let batch = TensorType::f32(&[inputs.first().map_or(1, |losses| losses.shape[0])]);
        check_mean(Check::new(self, inputs), inputs, "losses", batch, batch)?;
        Ok(vec![TensorType::f32(&[1])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let losses = inputs[0];
        let factor = |i: usize| inputs.get(1).map_or(1.0, |factors| factors.data[i]);
        let sum: f64 = losses.data.iter().enumerate().map(|(i, loss)| factor(i) * loss).sum();
        vec![Tensor::new(TensorType::f32(&[1]).shape, vec![sum / losses.data.len() as f64])]
    }

    fn vjp(&self, backward: &mut Backward, equation: &Equation) -> Result<Gradients, Error> {
        let mut gradients = vec![None; equation.inputs.len()];
        if let Some(dloss) = backward.cotangent(0) {
            let op = MeanLossBackward { batch: backward.type_of(equation.inputs[0]).shape[0] };
            let operands = [&[dloss], &equation.inputs[1..]].concat();
            gradients[0] = Some(backward.push(op, &operands)?);
        }
        Ok(gradients)
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let batch = lowering.type_of(equation.inputs[0]).shape[0] as u32;
        let params = shader::Params { batch };
        let kernel = shader::Forward {
            losses: equation.inputs[0],
            factors: equation.inputs.get(1).copied(),
            loss: equation.outputs[0],
        };
        Ok(lowering.push(kernel.dispatch(params, shader::Overrides::default(), ONE_WORKGROUP))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(2, inputs, &inputs[..1])
    }
}

impl Operator for MeanLossBackward {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let batch = TensorType::f32(&[self.batch]);
        check_mean(Check::new(self, inputs), inputs, "dloss", TensorType::f32(&[1]), batch)?;
        Ok(vec![batch])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let share = inputs[0].data[0] / self.batch as f64;
        let factor = |i: usize| inputs.get(1).map_or(1.0, |factors| factors.data[i]);
        let data = (0..self.batch).map(|i| share * factor(i)).collect();
        vec![Tensor::new(TensorType::f32(&[self.batch]).shape, data)]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let params = shader::Params { batch: self.batch as u32 };
        let overrides = shader::Overrides::default();
        let kernel = shader::Backward {
            dloss: equation.inputs[0],
            factors: equation.inputs.get(1).copied(),
            dlosses: equation.outputs[0],
        };
        let grid = [params.batch.next_multiple_of(4).div_ceil(overrides.workgroup), 1, 1];
        Ok(lowering.push(kernel.dispatch(params, overrides, grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(2, inputs, &[TensorType::f32(&[self.batch])])
    }
}

/// Both directions, without and with factors.
fn of(images: usize) -> [Case; 4] {
    let batch = TensorType::f32(&[images]);
    let losses = Input::uniform(batch, 0.1, 2.0);
    let factors = Input::uniform(batch, 0.1, 9.0);
    let dloss = Input::values(TensorType::f32(&[1]), vec![0.75]);
    let backward = MeanLossBackward { batch: images };
    [
        Case::new(MeanLoss, vec![losses.clone()]).terms(images),
        Case::new(MeanLoss, vec![losses, factors.clone()]).terms(images),
        Case::new(backward, vec![dloss.clone()]),
        Case::new(backward, vec![dloss, factors]),
    ]
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    [1, 7, 200].map(of).concat()
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    let images = dice.extent(600);
    dice.one_of(of(images))
}
