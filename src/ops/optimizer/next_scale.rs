//! Dynamic scaling of the loss: Micikevicius et al. 2018, *Mixed Precision Training*, section 3.2.
use crate::{ops::prelude::*, shaders::next_scale as shader};

/// Ends a step whose gradients are those of `scale` times the loss, in place: a good one counts towards a
/// larger scale, a bad one is skipped and halves it, unless too many were skipped in a row or the scale is
/// the least already.
///
/// Operands `scale f32[1]`, `tally f32[4] = (good steps since the scale changed, skipped in a row, skipped
/// in all, 1 if this step is skipped and the run goes on)`, `norm f32[4]` of
/// [`GlobalNorm`](crate::ops::GlobalNorm), `key u32[8]`. Outputs: the next scale and tally. After a step
/// that was bad for good both stay.
///
/// ```
/// use ddim::{ops::{Counter, NextScale, Operator}, reference::Tensor, value::Shape};
///
/// let tensor = |data: &[f64]| Tensor::new(Shape::new(&[data.len()]), data.to_vec());
/// let (norm, key) = (tensor(&[f64::INFINITY, 1.0, 0.0, 0.0]), tensor(&[0.0; Counter::WORDS]));
/// let next = NextScale { interval: 2000, skips: 20 };
/// let [scale, tally] = [tensor(&[1024.0]), tensor(&[7.0, 0.0, 3.0, 0.0])];
/// let next = next.reference(&[&scale, &tally, &norm, &key]);
/// assert_eq!((next[0].data[0], &next[1].data[..]), (512.0, &[0.0, 1.0, 4.0, 1.0][..]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NextScale {
    /// Good steps in a row until the scale is doubled.
    pub interval: u32,
    /// Steps that may be skipped in a row.
    pub skips: u32,
}

impl NextScale {
    /// Of a new run, the default of PyTorch.
    pub const FIRST: f32 = 65536.0;
    /// The largest.
    pub const MOST: f32 = 16_777_216.0;
    /// The least.
    pub const LEAST: f32 = 1.0;
}

display!("next_scale", NextScale { interval, skips });

impl Operator for NextScale {
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, ShapeError> {
        let check = Check::new(self, inputs);
        let [scale, tally, norm, key] = check.operands()?;
        check.is("scale", scale, TensorType::f32(&[1]))?;
        check.is("tally", tally, TensorType::f32(&[4]))?;
        check.is("norm", norm, TensorType::f32(&[4]))?;
        check.key(key)?;
        Ok(vec![scale, tally])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let (mut scale, mut tally) = (inputs[0].clone(), inputs[1].clone());
        if Counter::read(inputs[3]).bad_step.is_some() {
            return vec![scale, tally];
        }
        let [good, in_row, all, _] = [0, 1, 2, 3].map(|i| tally.data[i]);
        let factor = scale.data[0];
        let (next, told) = if inputs[2].data[2] == 1.0 {
            let good = good + 1.0;
            match good >= f64::from(self.interval) {
                true => ((2.0 * factor).min(Self::MOST.into()), [0.0, 0.0, all, 0.0]),
                false => (factor, [good, 0.0, all, 0.0]),
            }
        } else if in_row + 1.0 > f64::from(self.skips) || factor / 2.0 < Self::LEAST.into() {
            (factor, [good, in_row, all, 0.0])
        } else {
            (factor / 2.0, [0.0, in_row + 1.0, all + 1.0, 1.0])
        };
        scale.data[0] = next;
        tally.data.copy_from_slice(&told);
        vec![scale, tally]
    }

    fn lower(&self, lowering: &mut Lowering, equation: &Equation) -> Result<(), Error> {
        let params = shader::Params {
            interval: self.interval as f32,
            most: Self::MOST,
            least: Self::LEAST,
            skips: self.skips as f32,
        };
        let [_, _, norm, key] = fitted(&equation.inputs);
        let [scale, tally] = fitted(&equation.outputs);
        let kernel = shader::Forward { norm, key, scale, tally };
        Ok(lowering.push(kernel.dispatch(params, shader::Overrides::default(), ONE_WORKGROUP))?)
    }

    fn in_place(&self) -> &[(usize, usize)] {
        &[(0, 0), (1, 1)]
    }

    /// The smaller of NaN and a number may be either.
    fn special(&self) -> Special {
        Special::Spreads
    }
}

fn case(scale: f64, tally: [f64; 4], norm: Input, key: Input) -> Case {
    let scale = Input::values(TensorType::f32(&[1]), vec![scale]);
    let op = NextScale { interval: 5, skips: 3 };
    Case::new(op, vec![scale, Input::row(tally), norm, key]).selecting(&[1, 2])
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let norm = |good| Input::row([3.0, 0.5, good, 0.0]);
    let frozen = Counter { step: 7, bad_step: Some(6), ..Counter::default() }.input();
    let good = |scale, tally| case(scale, tally, norm(1.0), example_key());
    let bad = |scale, tally| case(scale, tally, norm(0.0), example_key());
    vec![
        good(64.0, [2.0, 0.0, 1.0, 0.0]),
        good(64.0, [0.0, 2.0, 9.0, 1.0]).name("after skipped steps"),
        good(64.0, [4.0, 0.0, 1.0, 0.0]).name("the scale grows"),
        good(NextScale::MOST.into(), [4.0, 0.0, 1.0, 0.0]).name("the scale is the largest"),
        bad(64.0, [4.0, 0.0, 1.0, 0.0]).name("skipped"),
        bad(64.0, [0.0, 2.0, 3.0, 1.0]).name("the last that may be skipped"),
        bad(64.0, [0.0, 3.0, 3.0, 1.0]).name("too many"),
        bad(1.0, [1.0, 0.0, 7.0, 0.0]).name("the scale is the least"),
        case(8.0, [0.0, 3.0, 3.0, 0.0], norm(0.0), frozen)
            .name("after a step that was bad for good"),
    ]
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    let scale = dice.pick([1.0, 2.0, 512.0, 65536.0]);
    let [good, in_row, all] = [(); 3].map(|()| dice.below(5) as f64);
    case(scale, [good, in_row, all, 0.0], dice.norm(), dice.counter())
}
