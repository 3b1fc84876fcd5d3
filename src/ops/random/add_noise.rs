//! The forward process `q(x_t | x_0)`: Ho et al. 2020, eq. 4.
use crate::{
    ops::{kit::random::Images, prelude::*},
    shaders::add_noise as shader,
};

/// `y = signal[t] x + deviation[t] noise`, each image at its own `t`; operands
/// `x [batch, ..]`, `timesteps f32[batch]`, `coefficients f32[count, 2]` (rows of signal
/// `sqrt(abar)` and deviation `sqrt(1 - abar)`), `noise` of the type of `x`.
///
/// ```
/// use ddim::{ops::{AddDrawnNoise, AddNoise, Counter, Operator}, reference::Tensor, value::Shape};
///
/// let tensor = |extents: &[usize], data: &[f64]| Tensor::new(Shape::new(extents), data.to_vec());
/// let (x, noise) = (tensor(&[1, 1], &[5.0]), tensor(&[1, 1], &[10.0]));
/// let timesteps = tensor(&[1], &[1.0]);
/// let table = tensor(&[2, 2], &[1.0, 0.0, 0.6, 0.8]);
/// assert_eq!(AddNoise.reference(&[&x, &timesteps, &table, &noise])[0].data, [11.0]);
/// let key = Tensor::zeros(Counter::of().shape);
/// let drawn = AddDrawnNoise { stream: 1 }.reference(&[&x, &timesteps, &table, &key]);
/// assert_eq!(AddNoise.reference(&[&x, &timesteps, &table, &drawn[1]])[0], drawn[0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddNoise;

/// [`AddNoise`] with standard normal noise drawn in the kernel; the last operand is
/// `key u32[8]`. Outputs `y` and the noise, which is what the network has to find.
///
/// Example: [`AddNoise`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddDrawnNoise {
    /// Which of the model's random streams.
    pub stream: u32,
}

/// [`AddNoise`] with standard normal noise that follows from the key's seed, the image's number
/// and its timestep alone; the last operands are `key u32[8]` and `numbers u32[batch]`.
///
/// ```
/// use ddim::{ops::{AddNumberedNoise, Counter, Operator}, reference::Tensor, value::Shape};
///
/// let tensor = |extents: &[usize], data: &[f64]| Tensor::new(Shape::new(extents), data.to_vec());
/// let (x, timesteps) = (Tensor::zeros(Shape::new(&[2, 4])), tensor(&[2], &[0.0, 0.0]));
/// let (table, key) = (tensor(&[1, 2], &[0.6, 0.8]), Tensor::zeros(Counter::of().shape));
/// // Twice the same image at the same timestep.
/// let numbers = tensor(&[2], &[7.0, 7.0]);
/// let op = AddNumberedNoise { stream: 1 };
/// let y = &op.reference(&[&x, &timesteps, &table, &key, &numbers])[0];
/// assert_eq!(y.data[..4], y.data[4..]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddNumberedNoise {
    /// Which of the model's random streams.
    pub stream: u32,
}

display!("add_noise", AddNoise);

display!("add_drawn_noise", AddDrawnNoise { stream });

display!("add_numbered_noise", AddNumberedNoise { stream });

/// Checks the operands that come first.
fn check_noised(
    check: Check,
    [x, timesteps, coefficients]: [TensorType; 3],
) -> Result<(), ShapeError> {
    check.images("x", x)?;
    check.is("timesteps", timesteps, TensorType::f32(&[x.shape[0]]))?;
    let table = TensorType::f32(&[coefficients.shape[0], 2]);
    check.that(coefficients == table, "coefficients", "f32[count,2]", coefficients)
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
        let check = Check::new(self, inputs);
        let [x, timesteps, coefficients, noise] = check.operands()?;
        check_noised(check, [x, timesteps, coefficients])?;
        check.is("noise", noise, x)?;
        Ok(vec![x])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        vec![mix(inputs[0], inputs[1], inputs[2], inputs[3])]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let (params, grid) = params(lowering, equation, 0);
        let [x, timesteps, coefficients, given] = fitted(&equation.inputs);
        let kernel = shader::Forward { x, timesteps, coefficients, given, y: equation.outputs[0] };
        Ok(lowering.push(kernel.dispatch(params, shader::Overrides::default(), grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(3, inputs, &inputs[..1])
    }
}

impl Operator for AddDrawnNoise {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [x, timesteps, coefficients, key] = check.operands()?;
        check_noised(check, [x, timesteps, coefficients])?;
        check.key(key)?;
        Ok(vec![x, x])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let noise = Counter::read(inputs[3]).normals(inputs[0].shape, self.stream);
        vec![mix(inputs[0], inputs[1], inputs[2], &noise), noise]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let (params, grid) = params(lowering, equation, self.stream);
        let [x, timesteps, coefficients, key] = fitted(&equation.inputs);
        let [y, noise] = fitted(&equation.outputs);
        let kernel = shader::Draw { x, timesteps, coefficients, key, y, noise };
        Ok(lowering.push(kernel.dispatch(params, shader::Overrides::default(), grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(60, inputs, &[inputs[0], inputs[0]])
    }
}

impl Operator for AddNumberedNoise {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [x, timesteps, coefficients, key, numbers] = check.operands()?;
        check_noised(check, [x, timesteps, coefficients])?;
        check.key(key)?;
        check.is("numbers", numbers, TensorType::u32(&[x.shape[0]]))?;
        Ok(vec![x])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [x, timesteps, coefficients, key, numbers] = fitted(inputs);
        let one = TensorType::f32(&x.shape).with_extent(0, 1).shape;
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
        let [x, timesteps, coefficients, key, numbers] = fitted(&equation.inputs);
        let y = equation.outputs[0];
        let kernel = shader::Numbered { x, timesteps, coefficients, key, numbers, y };
        Ok(lowering.push(kernel.dispatch(params, shader::Overrides::default(), grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(60, inputs, &inputs[..1])
    }
}

/// With noise that is given, drawn and numbered; a table of so many timesteps.
fn of(x: TensorType, timesteps: usize, stream: u32, key: Input) -> [Case; 3] {
    let with = |more: Vec<Input>| {
        let batch = TensorType::f32(&x.shape[..1]);
        let table = Input::uniform(TensorType::f32(&[timesteps, 2]), 0.0, 1.0);
        [vec![Input::normal(x), Input::below(batch, timesteps as u32), table], more].concat()
    };
    let numbers = Input::below(TensorType::u32(&x.shape[..1]), 100_000);
    [
        Case::new(AddNoise, with(vec![Input::normal(x)])).half(&[0, 3]),
        Case::new(AddDrawnNoise { stream }, with(vec![key.clone()])).half(&[0]),
        Case::new(AddNumberedNoise { stream }, with(vec![key, numbers])).half(&[0]),
    ]
    .map(|case| case.terms(2).selecting(&[1]))
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    [&[3, 7, 5, 3][..], &[1, 8, 8, 1], &[5, 16, 16, 4], &[MANY_IMAGES, 1]]
        .map(|shape| of(TensorType::f32(shape), 20, 2, example_key()))
        .concat()
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    let (x, timesteps, stream) = (dice.image(), dice.extent(60), dice.below(9) as u32);
    let key = dice.key();
    dice.one_of(of(x, timesteps, stream, key))
}
