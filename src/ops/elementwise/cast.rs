//! Another storage type.
use crate::{ops::prelude::*, shaders::cast as shader};

/// `y = x` in another storage, rounded once.
///
/// ```
/// use ddim::{ops::{Cast, Operator}, value::{ElementType, TensorType}};
///
/// let cast = Cast { to: ElementType::F16 };
/// assert_eq!(cast.infer(&[TensorType::f32(&[2, 3])])?, [TensorType::f16(&[2, 3])]);
/// # Ok::<(), ddim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cast {
    /// Storage of the result: f32, f16 or bf16.
    pub to: ElementType,
}

display!("cast", Cast { to });

impl Elementwise for Cast {
    const OPERANDS: &'static [&'static str] = &["x"];
    const FLOPS: u64 = 0;

    fn element(&self, operands: &[f64]) -> f64 {
        operands[0]
    }

    fn gradients(&self, backward: &mut Backward, equation: &Equation) -> Result<Gradients, Error> {
        let (dy, to) = (backward.dy(), backward.type_of(equation.inputs[0]).element);
        Ok(vec![Some(backward.push(Self { to }, &[dy])?)])
    }

    fn kernel(&self, operands: &[Value], y: Value, of: TensorType) -> Dispatch {
        let params = shader::Params { vectors: of.vectors() as u32 };
        shader::Forward { x: operands[0], y }.over(params, of.vectors())
    }

    fn result(&self, inputs: &[TensorType]) -> TensorType {
        inputs[0].with_element(self.to)
    }
}

fn case(x: TensorType, to: ElementType) -> Case {
    Case::new(Cast { to }, vec![Input::normal(x)])
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let (f32, f16, bf16) = (ElementType::F32, ElementType::F16, ElementType::Bf16);
    [(f32, f16), (f16, f32), (f32, f32), (f32, bf16), (bf16, f32), (f16, bf16)]
        .map(|(from, to)| case(TensorType::f32(&[2, 7, 5, 3]).with_element(from), to))
        .into()
}

pub(in crate::ops) fn random(dice: &mut Dice) -> Case {
    case(dice.tensor().with_element(dice.element()), dice.element())
}
