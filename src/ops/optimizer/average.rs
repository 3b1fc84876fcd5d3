//! Moving averages of the weights beside the optimizer's own.
use crate::{
    ops::{kit::random::counter_at, prelude::*},
    shaders::average as shader,
};
use std::fmt;

/// How fast an average forgets.
///
/// Example: [`AverageWeights`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AverageDecay {
    /// It keeps this part of itself in a step; `warmup` begins with less: `min(decay, (1 + step) / (10 + step))`.
    Constant {
        /// The part.
        decay: Float,
        /// Whether it begins lower.
        warmup: bool,
    },
    /// It keeps `(1 - 1/t)^(gamma + 1)` with `t = step + 1`, so that weights of a step count in proportion to its
    /// `gamma`-th power: Karras et al. 2024, *Analyzing and Improving the Training Dynamics of Diffusion Models*.
    Power {
        /// The exponent `gamma`.
        gamma: Float,
    },
}

/// Moves an average towards a parameter where it lies: `average += (1 - beta) (parameter - average)`.
///
/// Operands: `key u32[8]`, `norm f32[4]` of [`GlobalNorm`](crate::ops::GlobalNorm), `parameter` and `average` of one f32
/// type. The output is the next content of the last. If the norm's verdict is no, it is what it was.
///
/// ```
/// use ddim::ops::{AverageDecay, AverageWeights, Counter, Operator};
/// use ddim::{reference::Tensor, value::Shape};
///
/// let tensor = |data: &[f64]| Tensor::new(Shape::new(&[data.len()]), data.to_vec());
/// let (key, norm) = (tensor(&[0.0; Counter::WORDS]), tensor(&[1.0, 1.0, 1.0, 0.0]));
/// let (parameter, average) = (tensor(&[8.0]), tensor(&[4.0]));
/// let decay = AverageDecay::Constant { decay: 0.75.into(), warmup: false };
/// let next = AverageWeights { decay }.reference(&[&key, &norm, &parameter, &average]);
/// assert_eq!(next[0].data, [5.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AverageWeights {
    /// How fast it forgets.
    pub decay: AverageDecay,
}

impl fmt::Display for AverageWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.decay {
            AverageDecay::Constant { decay, warmup } => {
                write!(f, "average_weights{{decay={decay} warmup={warmup}}}")
            }
            AverageDecay::Power { gamma } => write!(f, "average_weights{{gamma={gamma}}}"),
        }
    }
}

impl AverageDecay {
    /// `1 - beta` in a step, counted from 0.
    pub fn rate(&self, step: f64) -> f64 {
        match self {
            Self::Constant { decay, warmup } => {
                let least = if *warmup { 9.0 / (10.0 + step) } else { 0.0 };
                (1.0 - decay.get()).max(least)
            }
            Self::Power { gamma } => {
                -((gamma.get() + 1.0) * (-1.0 / (step + 1.0)).ln_1p()).exp_m1()
            }
        }
    }
}

impl Operator for AverageWeights {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [key, norm, parameter, average] = check.operands()?;
        check.key(key)?;
        check.is("norm", norm, TensorType::f32(&[4]))?;
        check.that(
            parameter == TensorType::f32(&parameter.shape),
            "parameter",
            "f32",
            parameter,
        )?;
        check.is("average", average, parameter)?;
        if let AverageDecay::Power { gamma } = self.decay {
            check.that(gamma.get() > -1.0, "gamma", "above -1", gamma)?;
        }
        Ok(vec![average])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let rate = self.decay.rate(f64::from(Counter::read(inputs[0]).step));
        let mut average = inputs[3].clone();
        if inputs[1].data[2] == 1.0 {
            for (average, parameter) in average.data.iter_mut().zip(&inputs[2].data) {
                *average += rate * (parameter - *average);
            }
        }
        vec![average]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let vectors = lowering.type_of(equation.outputs[0]).vectors();
        let (rate, warmup, exponent) = match self.decay {
            AverageDecay::Constant { decay, warmup } => (1.0 - decay.get(), warmup, 0.0),
            AverageDecay::Power { gamma } => (0.0, false, gamma.get() + 1.0),
        };
        let params = shader::Params {
            vectors: vectors as u32,
            rate: rate as f32,
            warmup: warmup.into(),
            exponent: exponent as f32,
        };
        let kernel = shader::Forward {
            key: equation.inputs[0],
            norm: equation.inputs[1],
            parameter: equation.inputs[2],
            average: equation.outputs[0],
        };
        Ok(lowering.push(kernel.over(params, vectors))?)
    }

    fn cost(&self, inputs: &[TensorType]) -> Cost {
        elementwise_cost(3, &inputs[2..], &inputs[3..])
    }

    fn in_place(&self) -> &[(usize, usize)] {
        &[(0, 3)]
    }
}

fn case(decay: AverageDecay, elements: usize, key: Input, norm: Input) -> Case {
    let of = TensorType::f32(&[elements]);
    Case::new(AverageWeights { decay }, vec![key, norm, Input::normal(of), Input::normal(of)])
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let constant = |decay: f64, warmup| AverageDecay::Constant { decay: decay.into(), warmup };
    let power = |gamma: f64| AverageDecay::Power { gamma: gamma.into() };
    let norm = |good| Input::row([2.5, 0.4, good, 0.0]);
    let good = |decay, step| case(decay, 1000, counter_at(step), norm(1.0));
    let powers = [0, 1, 2, 5, 100, 40_000, 16_000_000].map(|step| good(power(6.94), step));
    let warming = [0, 5, 3000].map(|step| good(constant(0.999, true), step));
    let mut cases = vec![good(constant(0.9, false), 3), good(power(16.97), 1)];
    cases.extend(powers);
    cases.extend(warming);
    cases.push(case(power(6.94), 37, counter_at(2), norm(0.0)).name("bad step"));
    cases
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    let decay = match dice.flip() {
        true => AverageDecay::Power { gamma: dice.float(0.5, 30.0).into() },
        false => {
            AverageDecay::Constant { decay: dice.float(0.5, 0.9999).into(), warmup: dice.flip() }
        }
    };
    let (key, norm) = (dice.counter(), dice.norm());
    case(decay, dice.extent(6000), key, norm)
}
