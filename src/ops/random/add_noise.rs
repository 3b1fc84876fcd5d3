//! The forward process `q(x_t | x_0)`: Ho et al. 2020, eq. 4.
use crate::{
    error::{Error, ShapeError},
    graph::Equation,
    ops::{
        Case, Input, Lowering, MANY_IMAGES, Operator, display, elementwise_cost, example_key,
        kit::random::{Counter, Images, check_images, check_key},
        operands,
    },
    plan::Cost,
    reference::Tensor,
    shaders::add_noise as shader,
    value::TensorType,
};

/// `y = signal[t] x + deviation[t] noise`, each image at its own `t`; operands
/// `x [batch, ..]`, `timesteps f32[batch]`, `coefficients f32[count, 2]` (rows of signal
/// `sqrt(abar)` and deviation `sqrt(1 - abar)`), `noise` of the type of `x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddNoise;

/// [`AddNoise`] with standard normal noise drawn in the kernel; the last operand is
/// `key u32[8]`. Outputs `y` and the noise, which is what the network has to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddDrawnNoise {
    /// Which of the model's random streams.
    pub stream: u32,
}

/// [`AddNoise`] with standard normal noise that follows from the key's seed, the image's number
/// and its timestep alone; the last operands are `key u32[8]` and `numbers u32[batch]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddNumberedNoise {
    /// Which of the model's random streams.
    pub stream: u32,
}

display!("add_noise", AddNoise);

display!("add_drawn_noise", AddDrawnNoise { stream });

display!("add_numbered_noise", AddNumberedNoise { stream });

/// Checks `x`, `timesteps` and `coefficients`, and returns `x` with the operands that follow.
fn check<const N: usize>(
    op: &str,
    inputs: &[TensorType],
) -> Result<(TensorType, [TensorType; N]), ShapeError> {
    let (&[x, timesteps, coefficients, ref rest @ ..], true) = (inputs, inputs.len() == 3 + N)
    else {
        return Err(ShapeError::count(op, 3 + N, inputs));
    };
    check_images(op, "x", x, inputs)?;
    let expected = TensorType::f32(&[x.shape[0]]);
    if timesteps != expected {
        return Err(ShapeError::operand(op, "timesteps", expected, timesteps, inputs));
    }
    if coefficients != TensorType::f32(&[coefficients.shape[0], 2]) {
        return Err(ShapeError::operand(op, "coefficients", "f32[count,2]", coefficients, inputs));
    }
    Ok((x, operands(op, rest)?))
}

fn mix(x: &Tensor, timesteps: &Tensor, coefficients: &Tensor, noise: &Tensor) -> Tensor {
    let image = x.data.len() / x.shape[0];
    let pairs = x.data.iter().zip(&noise.data).enumerate();
    let data = pairs.map(|(i, (x, noise))| {
        let row = (timesteps.data[i / image] as usize).min(coefficients.shape[0] - 1);
        coefficients.data[2 * row] * x + coefficients.data[2 * row + 1] * noise
    });
    Tensor::new(x.shape, data.collect())
}

fn params(lowering: &Lowering, equation: &Equation, stream: u32) -> (shader::Params, [u32; 3]) {
    let of = lowering.type_of(equation.inputs[0]);
    let count = lowering.type_of(equation.inputs[2]).rows() as u32;
    let Images { batch, vectors, channels, channels4, grid } =
        Images::new(of, shader::Overrides::default().workgroup);
    (shader::Params { batch, vectors, channels, channels4, stream, count }, grid)
}

impl Operator for AddNoise {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let (x, [noise]) = check("add_noise", inputs)?;
        if noise != x {
            return Err(ShapeError::operand("add_noise", "noise", x, noise, inputs));
        }
        Ok(vec![x])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        vec![mix(inputs[0], inputs[1], inputs[2], inputs[3])]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let (params, grid) = params(lowering, equation, 0);
        let kernel = shader::Forward {
            x: equation.inputs[0],
            timesteps: equation.inputs[1],
            coefficients: equation.inputs[2],
            given: equation.inputs[3],
            y: equation.outputs[0],
        };
        Ok(lowering.push(kernel.dispatch(params, shader::Overrides::default(), grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(3, inputs, &inputs[..1])
    }
}

impl Operator for AddDrawnNoise {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let (x, [key]) = check("add_drawn_noise", inputs)?;
        check_key("add_drawn_noise", key, inputs)?;
        Ok(vec![x, x])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let noise = Counter::read(inputs[3]).normals(inputs[0].shape, self.stream);
        vec![mix(inputs[0], inputs[1], inputs[2], &noise), noise]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let (params, grid) = params(lowering, equation, self.stream);
        let kernel = shader::Draw {
            x: equation.inputs[0],
            timesteps: equation.inputs[1],
            coefficients: equation.inputs[2],
            key: equation.inputs[3],
            y: equation.outputs[0],
            noise: equation.outputs[1],
        };
        Ok(lowering.push(kernel.dispatch(params, shader::Overrides::default(), grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(60, inputs, &[inputs[0], inputs[0]])
    }
}

impl Operator for AddNumberedNoise {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let (x, [key, numbers]) = check("add_numbered_noise", inputs)?;
        check_key("add_numbered_noise", key, inputs)?;
        let expected = TensorType::u32(&[x.shape[0]]);
        if numbers != expected {
            return Err(ShapeError::operand(
                "add_numbered_noise",
                "numbers",
                expected,
                numbers,
                inputs,
            ));
        }
        Ok(vec![x])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [x, timesteps, coefficients, key, numbers] = inputs else {
            unreachable!("five operands, as infer found")
        };
        let mut one = x.shape.to_vec();
        one[0] = 1;
        let one = TensorType::f32(&one).shape;
        let counter = Counter::read(key);
        let pairs = timesteps.data.iter().zip(&numbers.data);
        let noise = pairs.flat_map(|(&timestep, &number)| {
            let own = Counter { step: timestep as u32, first_image: number as u32, ..counter };
            own.normals(one, self.stream).data
        });
        vec![mix(x, timesteps, coefficients, &Tensor::new(x.shape, noise.collect()))]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let (params, grid) = params(lowering, equation, self.stream);
        let kernel = shader::Numbered {
            x: equation.inputs[0],
            timesteps: equation.inputs[1],
            coefficients: equation.inputs[2],
            key: equation.inputs[3],
            numbers: equation.inputs[4],
            y: equation.outputs[0],
        };
        Ok(lowering.push(kernel.dispatch(params, shader::Overrides::default(), grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(60, inputs, &inputs[..1])
    }
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    [&[3, 7, 5, 3][..], &[1, 8, 8, 1], &[5, 16, 16, 4], &[MANY_IMAGES, 1]]
        .into_iter()
        .flat_map(|shape| {
            let x = TensorType::f32(shape);
            let operands = |last| {
                vec![
                    Input::normal(x),
                    Input::below(TensorType::f32(&shape[..1]), 20),
                    Input::uniform(TensorType::f32(&[20, 2]), 0.0, 1.0),
                    last,
                ]
            };
            let drawn = AddDrawnNoise { stream: 2 };
            let numbers = Input::below(TensorType::u32(&shape[..1]), 100_000);
            let numbered = [operands(example_key()), vec![numbers]].concat();
            [
                Case::new(AddNoise, operands(Input::normal(x)))
                    .terms(2)
                    .half(&[0, 3])
                    .selecting(&[1]),
                Case::new(drawn, operands(example_key())).terms(2).half(&[0]).selecting(&[1]),
                Case::new(AddNumberedNoise { stream: 5 }, numbered)
                    .terms(2)
                    .half(&[0])
                    .selecting(&[1]),
            ]
        })
        .collect()
}
