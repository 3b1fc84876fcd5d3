//! Learning rates that fall as a cosine, or as the inverse of a root.
use crate::{
    ops::{kit::random::counter_at, prelude::*},
    shaders::rate_decay as shader,
};

/// How a learning rate falls.
///
/// Example: [`RateDecay`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fall {
    /// `(1 + cos(pi p)) / 2`, with `p` from 0 at the end of the warm-up to 1 at the end of `steps`: Loshchilov and
    /// Hutter 2017, *SGDR*, without restarts.
    Cosine,
    /// `1 / sqrt(max((step + 1) / steps, 1))`: Kingma and Ba 2015, section 4, and Karras et al. 2024, eq. 67.
    InverseSqrt,
}

/// Lowers the learning rate of a row of [`TrainingRow`](crate::ops::TrainingRow): from `key u32[8]` and `row f32[4]` a row
/// whose first number is multiplied.
///
/// ```
/// use ddim::ops::{Fall, RateDecay};
///
/// let cosine = RateDecay { fall: Fall::Cosine, warmup: 0, steps: 100 };
/// for (step, factor) in [(0.0, 1.0), (50.0, 0.5), (100.0, 0.0)] {
///     assert!((cosine.factor(step) - factor).abs() < 1e-12);
/// }
/// let root = RateDecay { fall: Fall::InverseSqrt, ..cosine };
/// assert_eq!([99.0, 399.0].map(|step| root.factor(step)), [1.0, 0.5]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RateDecay {
    /// How it falls.
    pub fall: Fall,
    /// Steps of the warm-up, in which a cosine does not fall.
    pub warmup: u32,
    /// Steps at whose end a cosine has fallen to zero; or those after which the inverse of a root falls.
    pub steps: u32,
}

display!(RateDecay { fall, warmup, steps }: "rate_decay{{fall={fall:?} warmup={warmup} steps={steps}}}");

impl RateDecay {
    /// What the rate is multiplied by in a step, counted from 0.
    pub fn factor(&self, step: f64) -> f64 {
        let [warmup, steps] = [self.warmup, self.steps].map(f64::from);
        match self.fall {
            Fall::Cosine => {
                let left = ((steps - step) / (steps - warmup).max(1.0)).clamp(0.0, 1.0);
                (std::f64::consts::FRAC_PI_2 * left).sin().powi(2)
            }
            Fall::InverseSqrt => ((step + 1.0) / steps.max(1.0)).max(1.0).sqrt().recip(),
        }
    }
}

impl Operator for RateDecay {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [key, row] = check.operands()?;
        check.key(key)?;
        check.is("row", row, TensorType::f32(&[4]))?;
        Ok(vec![row])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let mut row = inputs[1].clone();
        row.data[0] *= self.factor(f64::from(Counter::read(inputs[0]).step));
        vec![row]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let kind = match self.fall {
            Fall::Cosine => 0,
            Fall::InverseSqrt => 1,
        };
        let params = shader::Params { kind, warmup: self.warmup, steps: self.steps };
        let kernel = shader::Forward {
            key: equation.inputs[0],
            row: equation.inputs[1],
            lowered: equation.outputs[0],
        };
        Ok(lowering.push(kernel.dispatch(params, shader::Overrides::default(), ONE_WORKGROUP))?)
    }
}

fn case(op: RateDecay, key: Input, row: Input) -> Case {
    Case::new(op, vec![key, row])
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let row = || Input::row([0.03, 0.19, 0.001_999, 0.1]);
    let cosine = RateDecay { fall: Fall::Cosine, warmup: 100, steps: 1100 };
    let root = RateDecay { fall: Fall::InverseSqrt, warmup: 0, steps: 70 };
    let falling = [0, 99, 100, 350, 600, 1000, 1098, 1099, 1100, 5000];
    let cosines = falling.map(|step| case(cosine, counter_at(step), row()));
    let roots = [0, 69, 70, 139, 100_000].map(|step| case(root, counter_at(step), row()));
    cosines.into_iter().chain(roots).collect()
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    let warmup = dice.below(300) as u32;
    let op = RateDecay {
        fall: dice.pick([Fall::Cosine, Fall::InverseSqrt]),
        warmup,
        steps: warmup + 1 + dice.below(1500) as u32,
    };
    let row = Input::row([(); 4].map(|()| dice.float(0.001, 0.3)));
    case(op, dice.counter(), row)
}
