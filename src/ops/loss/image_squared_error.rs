//! Squared errors image by image, each weighted by its timestep.
use crate::{
    ops::{Reduction, kit::random::Images, prelude::*},
    shaders::image_squared_error as shader,
};

/// `losses f32[batch]`: each image's squared error, meant or summed over it, times the weight of its
/// timestep; operands `prediction` and `expected`, of one type `[batch, ..]`, `timesteps f32[batch]`
/// and `weights f32[timesteps]`. Only `prediction` has a gradient.
///
/// ```
/// use ddim::ops::{Constant, ImageSquaredError, MeanLoss, Reduction};
/// use ddim::{graph::Graph, passes, value::TensorType};
///
/// let mut graph = Graph::new();
/// let [found, expected] = [(); 2].map(|()| graph.input(TensorType::f32(&[4, 8, 8, 3])));
/// let [timesteps, weights] = [4, 1000].map(|count| graph.input(TensorType::f32(&[count])));
/// let op = ImageSquaredError { reduction: Reduction::Mean };
/// let losses = graph.push(op, &[found, expected, timesteps, weights])?;
/// let loss = graph.push(MeanLoss, &[losses])?;
/// let one = graph.push(Constant { of: TensorType::f32(&[1]), number: 1.0.into() }, &[])?;
/// passes::gradient(&mut graph, loss, one, &[found])?;
/// assert!(graph.to_string().contains("image_squared_error_backward"));
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ImageSquaredError {
    /// How the squares of an image are reduced.
    pub reduction: Reduction,
}

/// `dprediction`; the operands of [`ImageSquaredError`], then `dlosses f32[batch]`.
///
/// Example: [`ImageSquaredError`].
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
    check: Check,
    [prediction, expected, timesteps, weights]: [TensorType; 4],
) -> Result<TensorType, ShapeError> {
    check.images("prediction", prediction)?;
    check.is("expected", expected, prediction)?;
    let losses = TensorType::f32(&prediction.shape[..1]);
    check.is("timesteps", timesteps, losses)?;
    check.is("weights", weights, TensorType::f32(&[weights.shape[0]]))?;
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
    let (prediction, timesteps, weights) = (inputs[0], inputs[2], inputs[3]);
    let factor = reduction.image_factor(prediction.data.len() / prediction.shape[0]);
    let last = weights.data.len() - 1;
    timesteps.data.iter().map(|&t| factor * weights.data[(t as usize).min(last)]).collect()
}

impl Operator for ImageSquaredError {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        Ok(vec![check_images_of(check, check.operands()?)?])
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
        let [prediction, expected, timesteps, weights] = fitted(&equation.inputs);
        let losses = equation.outputs[0];
        let kernel = shader::Forward { prediction, expected, timesteps, weights, losses };
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
        let check = Check::new(self, inputs);
        let [prediction, expected, timesteps, weights, dlosses] = check.operands()?;
        let losses = check_images_of(check, [prediction, expected, timesteps, weights])?;
        check.is("dlosses", dlosses, losses)?;
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
        let [prediction, expected, timesteps, weights, dlosses] = fitted(&equation.inputs);
        let dprediction = equation.outputs[0];
        let kernel =
            shader::Backward { prediction, expected, timesteps, weights, dlosses, dprediction };
        let overrides = shader::Overrides::default();
        Ok(lowering.push(kernel.dispatch(params, overrides, images.grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(3, inputs, &inputs[..1])
    }
}

fn both(of: TensorType, timesteps: usize, reduction: Reduction) -> [Case; 2] {
    let batch = TensorType::f32(&of.shape[..1]);
    let inputs = [
        Input::normal(of),
        Input::normal(of),
        Input::below(batch, timesteps as u32),
        Input::uniform(TensorType::f32(&[timesteps]), 0.1, 5.0),
        Input::normal(batch),
    ];
    let terms = of.shape.elements() / of.shape[0];
    let forward = Case::new(ImageSquaredError { reduction }, inputs[..4].to_vec()).terms(terms);
    let backward = Case::new(ImageSquaredErrorBackward { reduction }, inputs.into());
    [forward, backward].map(|case| case.half(&[0, 1]).selecting(&[2]))
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    [&[3, 7, 5, 3][..], &[1, 1, 1, 1], &[6, 32, 32, 4], &[MANY_IMAGES, 1]]
        .into_iter()
        .flat_map(|shape| Reduction::ALL.map(|by| both(TensorType::f32(shape), 20, by)))
        .flatten()
        .collect()
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    let (of, timesteps, reduction) = (dice.image(), dice.extent(60), dice.pick(Reduction::ALL));
    dice.one_of(both(of, timesteps, reduction))
}
