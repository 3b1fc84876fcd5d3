//! Classifier guidance of a sampling step: Dhariwal and Nichol, *Diffusion Models Beat GANs on Image Synthesis* (2021),
//! algorithms 1 and 2.
use crate::{
    ops::{
        SamplingStep,
        kit::random::Images,
        prelude::*,
        sampling::row::{check_output, random_row, row_input},
    },
    shaders::{classifier_shift as shader, shared::coefficients::Coefficients},
};

/// Updates `x f32[batch, .., channels]`, the sample that a [`SamplingStep`] made, where it lies:
/// `x' = x + w f^2 gradient`, with the row's weight `w` of a gradient.
///
/// Operands: `x`, `gradient` of its type, the network's `output`, `row f32[24]` and `key u32[8]`, all of
/// that step. Outputs: `x'` and `key'`. An `output` with twice the channels of `x` gives the factor `f` of
/// the deviation, as there; otherwise it is 1. A gradient that is not finite makes the step the
/// `bad_step` of the key, unless the weight is 0.
///
/// ```
/// use ddim::ops::{ClassifierShift, Counter, Operator, SamplingRow};
/// use ddim::{reference::Tensor, value::Shape};
///
/// let pixel = |number| Tensor::new(Shape::new(&[1, 1]), vec![number]);
/// let (x, gradient, output) = (pixel(2.0), pixel(4.0), pixel(0.0));
/// let mut row = Tensor::zeros(Shape::new(&[SamplingRow::COLUMNS]));
/// row.data[15] = 0.5; // The weight of the gradient.
/// let key = Tensor::zeros(Counter::of().shape);
/// let next = ClassifierShift.reference(&[&x, &gradient, &output, &row, &key]);
/// assert_eq!(next[0].data, [4.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClassifierShift;

display!("classifier_shift", ClassifierShift);

impl Operator for ClassifierShift {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [x, gradient, output, row, key] = check.operands()?;
        check_output(check, x, output, row)?;
        check.is("gradient", gradient, x)?;
        check.key(key)?;
        Ok(vec![x, key])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [x, gradient, output, row, key] = fitted(inputs);
        let (row, mut key) = (Coefficients::read(&row.data), Counter::read(key));
        let (channels, width) = (x.shape.last(), output.shape.last());
        let (mut next, mut bad_parts) = (x.clone(), 0);
        for (i, &slope) in gradient.data.iter().enumerate().filter(|_| row.gradient != 0.0) {
            let mut weight = row.gradient;
            if width > channels {
                let second = output.data[i / channels * width + i % channels + channels];
                let range = row.largest_log_deviation - row.least_log_deviation;
                let share = 0.5 * second + 0.5;
                weight *= (2.0 * (row.least_log_deviation + share * range)).exp();
            }
            next.data[i] += weight * slope;
            let parts =
                [(slope, SamplingStep::BAD_GRADIENT), (next.data[i], SamplingStep::BAD_RESULT)];
            let bad = parts.into_iter().filter(|(number, _)| !number.is_finite());
            bad_parts |= bad.fold(0, |all, (_, part)| all | part);
        }
        if bad_parts != 0 && key.bad_step.is_none_or(|step| step == key.step) {
            key.bad_step = Some(key.step);
            key.bad_parts |= bad_parts;
        }
        vec![next, key.tensor()]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let [_, gradient, output, row, _] = fitted(&equation.inputs);
        let [x, key] = fitted(&equation.outputs);
        let (of, wide) = (lowering.type_of(x), lowering.type_of(output));
        let overrides =
            shader::Overrides { is_wide: wide.shape != of.shape, ..shader::Overrides::default() };
        let Images { batch, vectors, channels, channels4, grid } =
            Images::new(of, overrides.workgroup);
        let output_channels4 = wide.pitch() as u32 / 4;
        let params = shader::Params { batch, vectors, channels, channels4, output_channels4 };
        let kernel = shader::Forward { row, key, output, gradient, x };
        Ok(lowering.push(kernel.dispatch(params, overrides, grid))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(8, inputs, &inputs[..1])
    }

    fn in_place(&self) -> &[(usize, usize)] {
        &[(0, 0), (1, 4)]
    }
}

fn case(x: TensorType, output: TensorType, row: Input, key: Input) -> Case {
    let operands = vec![Input::normal(x), Input::normal(x), Input::normal(output), row, key];
    Case::new(ClassifierShift, operands).terms(16).half(&[2])
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let row = |gradient| {
        row_input(Coefficients {
            gradient,
            least_log_deviation: -0.8,
            largest_log_deviation: 0.4,
            ..Coefficients::default()
        })
    };
    let mut all = Vec::new();
    for shape in [&[2, 7, 5, 3][..], &[1, 8, 8, 1], &[3, 16, 16, 4]] {
        let x = TensorType::f32(shape);
        all.push(case(x, x, row(0.7), example_key()));
        all.push(
            case(x, x.with_last(2 * x.shape.last()), row(-0.3), example_key()).name("learned"),
        );
    }
    let x = TensorType::f32(&[2, 7, 5, 3]);
    all.push(case(x, x, row(0.0), example_key()).name("no weight"));
    all
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    let (x, row, key) = (dice.image(), random_row(dice), dice.key());
    let output = if dice.flip() { x.with_last(2 * x.shape.last()) } else { x };
    case(x, output, row, key)
}
