//! A tensor of one number: the seed of a gradient.
use crate::{ops::prelude::*, shaders::constant as shader};

/// `y[..] = number`, of type `of`; no operands.
///
/// ```
/// use ddim::{ops::{Constant, Operator}, value::TensorType};
///
/// let ones = Constant { of: TensorType::f32(&[3]), number: 1.0.into() };
/// assert_eq!(ones.reference(&[])[0].data, [1.0; 3]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Constant {
    /// Type of the result.
    pub of: TensorType,
    /// Every element.
    pub number: Float,
}

display!(Constant { number }: "constant{{{number}}}");

impl Elementwise for Constant {
    const OPERANDS: &'static [&'static str] = &[];
    const FLOPS: u64 = 0;

    fn element(&self, _: &[f64]) -> f64 {
        self.number.get()
    }

    fn gradients(&self, _: &mut Backward, _: &Equation) -> Result<Gradients, Error> {
        Ok(Vec::new())
    }

    fn kernel(&self, _: &[Value], y: Value, of: TensorType) -> Dispatch {
        let params = shader::Params {
            vectors: of.vectors() as u32,
            pitch: of.pitch() as u32 / 4,
            columns: of.shape.last() as u32,
            number: self.number.get() as f32,
        };
        shader::Forward { y }.over(params, of.vectors())
    }

    fn result(&self, _: &[TensorType]) -> TensorType {
        self.of
    }
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let number = Float::from(0.7);
    [&[1][..], &[7, 5, 3], &[300, 8]]
        .map(|shape| Case::new(Constant { of: TensorType::f32(shape), number }, Vec::new()))
        .into()
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    let of = dice.tensor().with_element(dice.element());
    Case::new(Constant { of, number: dice.float(-9.0, 9.0).into() }, Vec::new())
}
