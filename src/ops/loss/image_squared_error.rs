//! Squared errors image by image, each weighted by its timestep.
use crate::{
    error::{Error, ShapeError},
    graph::Equation,
    ops::{
        Backward, Case, Gradients, Input, Lowering, MANY_IMAGES, Operator, Reduction, check,
        display, elementwise_cost,
        kit::random::{Images, check_images},
        operands,
    },
    plan::{Cost, fold},
    reference::Tensor,
    shaders::image_squared_error as shader,
    value::TensorType,
};

/// `losses f32[batch]`: each image's squared error, meant or summed over it, times the weight of its
/// timestep; operands `prediction` and `expected`, of one type `[batch, ..]`, `timesteps f32[batch]`
/// and `weights f32[timesteps]`. Only `prediction` has a gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ImageSquaredError {
    /// How the squares of an image are reduced.
    pub reduction: Reduction,
}

/// `dprediction`; the operands of [`ImageSquaredError`], then `dlosses f32[batch]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ImageSquaredErrorBackward {
    /// How the squares of an image were reduced.
    pub reduction: Reduction,
}

display!("image_squared_error", ImageSquaredError { reduction });

display!("image_squared_error_backward", ImageSquaredErrorBackward { reduction });

impl Reduction {
    /// What the sum of an image's squares is multiplied by.
    fn image_factor(self, elements: usize) -> f64 {
        match self {
            Self::Mean => 1.0 / elements as f64,
            Self::ImageSum => 1.0,
        }
    }
}

/// Checks what both directions read, and returns the type of the losses.
fn check_images_of(
    op: &str,
    [prediction, expected, timesteps, weights]: [TensorType; 4],
    inputs: &[TensorType],
) -> Result<TensorType, ShapeError> {
    check_images(op, "prediction", prediction, inputs)?;
    check(op, "expected", expected, prediction, inputs)?;
    let losses = TensorType::f32(&prediction.shape[..1]);
    check(op, "timesteps", timesteps, losses, inputs)?;
    check(op, "weights", weights, TensorType::f32(&[weights.shape[0]]), inputs)?;
    Ok(losses)
}

fn params(
    lowering: &Lowering,
    equation: &Equation,
    reduction: Reduction,
) -> (shader::Params, Images) {
    let of = lowering.type_of(equation.inputs[0]);
    let images = Images::new(of, shader::Overrides::default().workgroup);
    let batch = of.shape[0];
    let params = shader::Params {
        batch: batch as u32,
        vectors: images.vectors,
        count: lowering.type_of(equation.inputs[3]).shape[0] as u32,
        factor: reduction.image_factor(of.shape.elements() / batch) as f32,
    };
    (params, images)
}

/// The weight of each image, its reduction included.
fn weights_of(inputs: &[&Tensor], reduction: Reduction) -> Vec<f64> {
    let [prediction, _, timesteps, weights, ..] = inputs else {
        unreachable!("four operands, as infer found")
    };
    let factor = reduction.image_factor(prediction.data.len() / prediction.shape[0]);
    let last = weights.data.len() - 1;
    timesteps.data.iter().map(|&t| factor * weights.data[(t as usize).min(last)]).collect()
}

impl Operator for ImageSquaredError {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let op = "image_squared_error";
        Ok(vec![check_images_of(op, operands(op, inputs)?, inputs)?])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let weights = weights_of(inputs, self.reduction);
        let squares = inputs[0].zip(inputs[1], |p, e| (p - e) * (p - e));
        let images = squares.data.chunks(squares.data.len() / weights.len());
        let losses = images.zip(&weights).map(|(image, w)| w * image.iter().sum::<f64>());
        vec![Tensor::new(TensorType::f32(&[weights.len()]).shape, losses.collect())]
    }

    fn vjp(&self, backward: &mut Backward, equation: &Equation) -> Result<Gradients, Error> {
        let mut gradients = vec![None; 4];
        if let (Some(dlosses), true) = (backward.cotangent(0), backward.needs(0)) {
            let op = ImageSquaredErrorBackward { reduction: self.reduction };
            let operands = [&equation.inputs[..], &[dlosses]].concat();
            gradients[0] = Some(backward.push(op, &operands)?);
        }
        Ok(gradients)
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let (params, _) = params(lowering, equation, self.reduction);
        let kernel = shader::Forward {
            prediction: equation.inputs[0],
            expected: equation.inputs[1],
            timesteps: equation.inputs[2],
            weights: equation.inputs[3],
            losses: equation.outputs[0],
        };
        let grid = fold(params.batch.next_multiple_of(4) as usize);
        let usual = shader::Overrides::default();
        // Of large images, more lanes share the pixels.
        let shared = shader::Overrides { workgroup: 2 * usual.workgroup };
        let ways = [usual, shared].map(|overrides| kernel.dispatch(params, overrides, grid));
        Ok(lowering.push_first(ways)?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        let flops = 3 * inputs[0].shape.elements() as u64;
        Cost { flops, bytes: inputs[0].bytes() + inputs[1].bytes() }
    }
}

impl Operator for ImageSquaredErrorBackward {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let op = "image_squared_error_backward";
        let [prediction, expected, timesteps, weights, dlosses] = operands(op, inputs)?;
        let losses = check_images_of(op, [prediction, expected, timesteps, weights], inputs)?;
        check(op, "dlosses", dlosses, losses, inputs)?;
        Ok(vec![prediction])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let weights = weights_of(inputs, self.reduction);
        let image = inputs[0].data.len() / weights.len();
        let mut gradient = inputs[0].zip(inputs[1], |p, e| 2.0 * (p - e));
        for (i, number) in gradient.data.iter_mut().enumerate() {
            *number *= weights[i / image] * inputs[4].data[i / image];
        }
        vec![gradient]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let (params, images) = params(lowering, equation, self.reduction);
        let kernel = shader::Backward {
            prediction: equation.inputs[0],
            expected: equation.inputs[1],
            timesteps: equation.inputs[2],
            weights: equation.inputs[3],
            dlosses: equation.inputs[4],
            dprediction: equation.outputs[0],
        };
        let overrides = shader::Overrides::default();
        Ok(lowering.push(kernel.dispatch(params, overrides, images.grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(3, inputs, &inputs[..1])
    }
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for shape in [&[3, 7, 5, 3][..], &[1, 1, 1, 1], &[6, 32, 32, 4], &[MANY_IMAGES, 1]] {
        let of = TensorType::f32(shape);
        let batch = TensorType::f32(&shape[..1]);
        let mut inputs = vec![
            Input::normal(of),
            Input::normal(of),
            Input::below(batch, 20),
            Input::uniform(TensorType::f32(&[20]), 0.1, 5.0),
        ];
        let terms = of.shape.elements() / shape[0];
        for reduction in [Reduction::Mean, Reduction::ImageSum] {
            let case = Case::new(ImageSquaredError { reduction }, inputs.clone());
            all.push(case.terms(terms).half(&[0, 1]).selecting(&[2]));
        }
        inputs.push(Input::normal(batch));
        for reduction in [Reduction::Mean, Reduction::ImageSum] {
            let case = Case::new(ImageSquaredErrorBackward { reduction }, inputs.clone());
            all.push(case.half(&[0, 1]).selecting(&[2]));
        }
    }
    all
}
